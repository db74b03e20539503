"""One colour and one line style for each thing, in every figure, page and lesson. All colours of
things are defined here and nowhere else.

The colours are Okabe and Ito's ("Color Universal Design", 2008), which colour-blind readers can
tell apart; the line styles repeat the distinction without colour.
"""

from __future__ import annotations

Colour = tuple[int, int, int]


def rgb(name: str) -> Colour:
    """A colour "#rrggbb" as three numbers in 0..255, for PIL and NumPy."""
    red, green, blue = bytes.fromhex(name[1:])
    return red, green, blue


GROUND_TRUTH = "#009e73"  # green
ANCHOR = "#56b4e9"  # sky blue
PROPOSAL = "#e69f00"  # orange
DETECTION = "#d55e00"  # vermilion
MASK = "#cc79a7"  # reddish purple; also the overlap of two boxes
POINT = "#f0e442"  # yellow: RoIAlign's sampling points
DROPPED = "#4b4b4b"  # dark grey: whatever a filter removed, and background
MISSED = "#0072b2"  # blue: an object that was missed
IGNORED = "#969ca8"  # light grey: a crowd, and detections in it
INK, PAPER = "#1f2328", "#ffffff"
QUIET = "#6e6e6e"  # grey, for less important text

THINGS = {
    "ground truth": GROUND_TRUTH,
    "anchor": ANCHOR,
    "proposal": PROPOSAL,
    "detection": DETECTION,
    "mask": MASK,
    "sampling point": POINT,
    "dropped": DROPPED,
    "missed": MISSED,
}
LINES = {  # Matplotlib's line styles
    GROUND_TRUTH: "-",
    ANCHOR: ":",
    PROPOSAL: "--",
    DETECTION: "-",
    DROPPED: (0, (1, 2)),
    MISSED: "--",
}
ERRORS = {  # wrong detections, by kind of error
    "location": "#56b4e9",
    "class": "#f0e442",
    "duplicate": "#cc79a7",
    "background": "#d55e00",
    "both": "#b284ff",
}
LOSSES = {  # as in a training run's curves
    "loss_objectness": "#e69f00",
    "loss_rpn_box_reg": "#56b4e9",
    "loss_classifier": "#009e73",
    "loss_box_reg": "#d55e00",
    "loss_mask": "#cc79a7",
}
LEVELS = ("#2244cc", "#882200", "#8888cc", "#880088", "#000000")  # P2 to P6; used for nothing else
CHANNELS = ("#d55e00", "#009e73", "#0072b2", "#6e6e6e")  # red, green, blue, one more
OBJECTS = (  # tell objects or classes of an image apart: Okabe and Ito's, lighter, darker
    "#e69f00",
    "#56b4e9",
    "#009e73",
    "#f0e442",
    "#cc79a7",
    "#d55e00",
    "#0072b2",
    "#94d6b2",
    "#b284ff",
    "#ffb394",
    "#808000",
    "#add8e6",
)
WRONG, ODD, FINE = "#c81e2d", "#b06c00", "#007850"  # check-data's errors, warnings, all well
HEAT = "viridis"  # for maps and probabilities
SIGNED = "RdBu_r"  # for gradients and offsets, white at zero
