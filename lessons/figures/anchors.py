"""Figures of matching: which anchors learn which object, are ignored, or are background."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image

from tinymaskrcnn.detection.matcher import BELOW, BETWEEN

from .box_panels import DROPPED, Layer, box_panels
from .diagrams import ANCHOR, GROUND_TRUTH, number_tables

EVERY = 12  # show every twelfth ignored anchor: there are many


def matching_panels(
    images: Mapping[str, np.ndarray],
    truths: Mapping[str, np.ndarray],
    anchors: np.ndarray,
    decisions: Mapping[str, np.ndarray],
    drawn: Mapping[str, np.ndarray],
) -> Image.Image:
    """One row per image: the anchors that learn an object, every twelfth ignored one, and the
    sampled background; titles give the counts of all of them.

    Args:
        images: (C, H, W) by name.
        truths: (G, 4) for each image.
        anchors: (M, 4), the same for all images.
        decisions: (M,) from `Matcher`, for each image.
        drawn: indices of the sampled background, for each image.
    """
    panels = {}
    for name, image in images.items():
        matches = decisions[name]
        between = np.flatnonzero(matches == BETWEEN)
        kinds = {
            f"{(matches >= 0).sum()} objects": (np.flatnonzero(matches >= 0), ANCHOR, 1.5),
            f"{len(between)} ignored, some of them": (between[::EVERY], DROPPED, 1.0),
            f"{(matches == BELOW).sum()} background, a sample": (drawn[name], DROPPED, 1.0),
        }
        for title, (which, colour, width) in kinds.items():
            truth = Layer(truths[name], GROUND_TRUTH, width=2)
            layer = Layer(anchors[which], colour, width=width)
            panels[f"{name}: {title}"] = image, [layer, truth]
    return box_panels(panels, 3, 3.2, 0.5)


def decision_columns(
    iou: np.ndarray, decisions: np.ndarray, learning: int = 2, others: int = 3
) -> np.ndarray:
    """Columns of iou (G, M): the best few anchors that learn each object, then the best few ignored
    ones, then the best few of the background.
    """
    ranked = np.argsort(-iou.max(axis=0), kind="stable")
    of = decisions[ranked]
    chosen = [ranked[of == g][:learning] for g in range(len(iou))]
    return np.concatenate([*chosen, *(ranked[of == kind][:others] for kind in (BETWEEN, BELOW))])


def decision_table(iou: np.ndarray, decisions: np.ndarray) -> Image.Image:
    """The table of IoU (G, M), for the columns that `decision_columns` chooses; below each column,
    the decision about it.
    """
    columns = decision_columns(iou, decisions)
    rows = [f"object {g}" for g in range(len(iou))]
    names = {BETWEEN: "ignored", BELOW: "background"} | dict(enumerate(rows))
    headings = [names[int(m)] for m in decisions[columns]]
    return number_tables({"IoU": iou[:, columns]}, rows=rows, columns=headings)
