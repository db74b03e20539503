"""One moment of training, for the page with a slider: always the same image, and what the model
makes of it at that step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...evaluation.detection_errors import average_precision
from ...models.mask_rcnn import MaskRCNN
from ...ops.activations.reference import sigmoid
from ...tracing import Trace
from .. import colours
from ..figures.canvas import image_of
from ..figures.regions import found_in
from ..figures.results import errors_of, scored_detections
from .collect import levels_of_anchors, pasted_to
from .pack import Pack, number

TOP = 60  # anchors shown with their boxes
LEAST_SCORE = 0.05  # for a detection to be shown


@np.errstate(all="ignore")  # for weights that are too large
def moment(
    model: MaskRCNN, t: Trace, classes: Sequence[str], step: int, title: str, page: str | None
) -> str:
    """What the timeline shows of one moment, packed.

    Args:
        t: a trace of `evaluate_losses` on the image.
        step: training steps so far.
        title: the image's name.
        page: the address of this moment's own page, if the image has one.
    """
    pack = Pack()
    content = {
        "step": step,
        "title": title,
        "page": page,
        "classes": list(classes),
        "lossColours": colours.LOSSES,
        "photo": pack.image((image_of(t) * 255 + 0.5).astype(np.uint8), "jpeg", 90),
        "size": [int(side) for side in t["transform.sizes"][0][::-1]],
        "losses": {name: number(value) for name, value in t["losses"].items()},
        "levels": levels_of_anchors(pack, model, t, with_logits=False),
        "objectness": [_best_of_cells(pack, t, i) for i in range(len(t["rpn.level_sizes"]))],
        **_first_stage(pack, t),
        **_found(pack, t),
    }
    return pack.text(content)


def missing_moment(step: int, why: str) -> str:
    """A placeholder for a moment that has nothing to show, packed.

    Args:
        step: training steps so far.
        why: one line that the page shows.
    """
    return Pack().text({"step": step, "missing": why})


def _best_of_cells(pack: Pack, t: Trace, level: int) -> dict[str, Any]:
    ends = np.cumsum(t["rpn.level_sizes"])
    logits = np.split(t["rpn.objectness"][0], ends[:-1])[level]
    _, height, width, _ = t["backbone.pyramid"][level].shape
    return pack.array(sigmoid(logits.reshape(height, width, -1).max(axis=2)) * 255 + 0.5, "u1")


def _first_stage(pack: Pack, t: Trace) -> dict[str, Any]:
    best = np.argsort(-t["rpn.scores"][0], kind="stable")[:TOP]
    truth = t["transform.targets"][0]
    return {
        "topAnchors": pack.array(t["rpn.anchors"][t["rpn.top_k"][0, best]], "f4"),
        "topMoved": pack.array(t["rpn.moved"][0][best], "f4"),
        "topScores": pack.array(t["rpn.scores"][0][best], "f4"),
        "proposals": pack.array(t["rpn.proposals"][0], "f4"),
        "truth": pack.array(truth["boxes"], "f4"),
        "truthLabels": truth["labels"].tolist(),
    }


def _found(pack: Pack, t: Trace) -> dict[str, Any]:
    """Detections that the sliders can show; AP counts all of them."""
    found, verdicts = found_in(t), errors_of(t).verdicts()
    sure = np.flatnonzero(found["scores"] >= LEAST_SCORE)
    found = {name: values[sure] for name, values in found.items()}
    scores, right, objects = scored_detections(t)
    return {
        "boxes": pack.array(found["boxes"], "f4"),
        "labels": found["labels"].tolist(),
        "scores": pack.array(found["scores"], "f4"),
        "masks": pack.array(found["masks"] * 255 + 0.5, "u1"),
        "exactPaste": t["detections.paste"][0] == "exact",
        "pasteBoxes": pasted_to(pack, found["boxes"], found["masks"], t["detections.paste"][0]),
        "reasons": [verdicts[int(d)] for d in sure],
        "objects": objects,
        "ap50": number(average_precision(scores, right, objects)),
    }
