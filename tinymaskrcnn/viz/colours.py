"""One colour and one line style for each thing, in every figure, page and lesson.

The colours are Okabe and Ito's ("Color Universal Design", 2008), which colour-blind readers can
tell apart; the line styles say the same again without colour.

Not here: the colours that tell objects of a picture apart (draw.COLOURS).
"""

from __future__ import annotations

GROUND_TRUTH = "#009e73"  # green
ANCHOR = "#56b4e9"  # sky blue
PROPOSAL = "#e69f00"  # orange
DETECTION = "#d55e00"  # vermilion
MASK = "#cc79a7"  # reddish purple
POINT = "#f0e442"  # yellow: RoIAlign's sampling points
DROPPED = "#bbbbbb"  # grey: whatever a filter removed, and background
INK, PAPER = "#1f2328", "#ffffff"

THINGS = {
    "ground truth": GROUND_TRUTH,
    "anchor": ANCHOR,
    "proposal": PROPOSAL,
    "detection": DETECTION,
    "mask": MASK,
    "sampling point": POINT,
    "dropped": DROPPED,
}
LINES = {  # Matplotlib's line styles
    GROUND_TRUTH: "-",
    ANCHOR: ":",
    PROPOSAL: "--",
    DETECTION: "-",
    DROPPED: (0, (1, 2)),
}
LOSSES = {  # as in the curve of a training run
    "loss_objectness": "#e69f00",
    "loss_rpn_box_reg": "#56b4e9",
    "loss_classifier": "#009e73",
    "loss_box_reg": "#d55e00",
    "loss_mask": "#cc79a7",
}
LEVELS = ("#4477aa", "#66ccee", "#228833", "#ccbb44", "#ee6677")  # P2 to P6: Tol's bright scheme
HEAT = "viridis"  # of maps and probabilities
SIGNED = "RdBu_r"  # of gradients and offsets, white at zero
