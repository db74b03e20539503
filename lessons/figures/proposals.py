"""Region proposals as PIL images: the network's scores, and boxes before and after each filter.

Not here: the same for a trace, as matplotlib figures (tinymaskrcnn/viz/figures/proposals.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from tinymaskrcnn.detection.boxes import Size
from tinymaskrcnn.tracing import Trace
from tinymaskrcnn.viz.colours import HEAT
from tinymaskrcnn.viz.derived import Outcome

from .box_panels import DROPPED, Layer, box_panels
from .diagrams import ANCHOR, GROUND_TRUTH, PROPOSAL
from .figure import as_image, as_picture, bare, new_figure

OUTSIDE = 45  # pixels to show around an image if boxes lie outside it


@as_image
def score_maps(
    rows: Mapping[str, tuple[np.ndarray, np.ndarray]], maps: Sequence[Size]
) -> Image.Image:
    """One row per image: the image, and for each level the best probability at every cell, all on
    one scale from 0 to 1.

    Args:
        rows: by name: the image (C, H, W) and its logits (M,), one level after another.
        maps: rows and columns of each level.
    """
    wide = len(maps) + 1
    figure = new_figure(1.75 * wide + 0.6, 2.0 * len(rows))
    axes = figure.subplots(len(rows), wide, squeeze=False)
    for line, (name, (image, logits)) in zip(axes, rows.items(), strict=True):
        line[0].imshow(np.clip(image[:3], 0, 1).transpose(1, 2, 0))
        line[0].set_title(name, size=9.5)
        for i, level in enumerate(best_of_cells(logits, maps)):
            heat = line[i + 1].imshow(level, cmap=HEAT, vmin=0, vmax=1, interpolation="nearest")
            line[i + 1].set_title(f"P{i + 2}: up to {level.max():.2f}", size=9.5)
        for axis in line:
            axis.set(xticks=[], yticks=[])
            bare(axis)
    figure.colorbar(heat, ax=axes, shrink=0.8)
    return as_picture(figure)


def best_of_cells(logits: np.ndarray, maps: Sequence[Size]) -> list[np.ndarray]:
    """For each level (H, W), the largest probability among each cell's anchors."""
    per_cell = len(logits) // sum(h * w for h, w in maps)
    ends = np.cumsum([h * w * per_cell for h, w in maps])
    parts = np.split(np.asarray(logits, np.float64), ends[:-1])
    return [
        1 / (1 + np.exp(-part.reshape(h, w, per_cell).max(axis=2)))
        for part, (h, w) in zip(parts, maps, strict=True)
    ]


def filter_panels(
    images: Mapping[str, np.ndarray],
    traces: Mapping[str, Trace],
    truths: Mapping[str, np.ndarray],
    best: int = 60,
) -> Image.Image:
    """One row per image: the best anchors, the same after regression, clipped to the image; and the
    chosen anchors of which clipping leaves nothing.

    Args:
        images: by name: (C, H, W), in the size that the model sees.
        traces: one per image, which was the first of its pass.
        truths: (G, 4) for each image.
        best: how many anchors to show.
    """
    panels = {}
    for name, t in traces.items():
        rows = np.argsort(-t["rpn.scores"][0], kind="stable")[:best]
        gone = np.flatnonzero(t["rpn.outcomes"][0] == Outcome.SMALL)
        truth = Layer(truths[name], GROUND_TRUTH, width=2)
        stages = {
            f"the {best} best anchors": Layer(t["rpn.anchors"][t["rpn.top_k"][0, rows]], ANCHOR),
            "moved": Layer(t["rpn.moved"][0, rows], PROPOSAL),
            "clipped": Layer(t["rpn.clipped"][0][rows], PROPOSAL),
            f"{len(gone)} of all lie outside": Layer(t["rpn.moved"][0, gone], DROPPED, width=0.7),
        }
        for title, layer in stages.items():
            panels[f"{name}: {title}"] = images[name], [layer, truth]
    return box_panels(panels, 4, 2.6, 0.4, OUTSIDE)


def suppression_panels(
    images: Mapping[str, np.ndarray],
    traces: Mapping[str, Trace],
    truths: Mapping[str, np.ndarray],
    best: int = 60,
) -> Image.Image:
    """One row per image: the best boxes before suppression, those that remain, those that were
    suppressed, and finally all proposals. Arguments as for `filter_panels`.
    """
    panels = {}
    for name, t in traces.items():
        boxes, outcomes = t["rpn.clipped"][0], t["rpn.outcomes"][0]
        order = np.argsort(-t["rpn.scores"][0], kind="stable")
        rows = order[outcomes[order] != Outcome.SMALL][:best]
        lost = outcomes[rows] == Outcome.OVERLAP
        final = t["rpn.proposals"][0]
        stages = {
            f"the {best} best boxes": Layer(boxes[rows], PROPOSAL),
            f"{(~lost).sum()} of them stay": Layer(boxes[rows[~lost]], PROPOSAL, width=1.6),
            f"{lost.sum()} are suppressed": Layer(boxes[rows[lost]], DROPPED),
            f"all {len(final)} proposals": Layer(final, PROPOSAL, width=0.7),
        }
        for title, layer in stages.items():
            panels[f"{name}: {title}"] = images[name], [layer, Layer(truths[name], GROUND_TRUTH)]
    return box_panels(panels, 4, 2.6, 0.4)
