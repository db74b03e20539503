"""Images with a model's errors. Left: the ground truth, missed objects in colour. Right: the
detections, wrong ones in the colour of their error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from ..datasets.run_lengths import masks_from_rles
from ..evaluation.detection_errors import ImageErrors
from . import colours
from .colours import Colour, rgb
from .draw import contact_sheet, draw_objects, enlarged, enlargement, titled

RIGHT, IGNORED, MISSED = map(rgb, (colours.GROUND_TRUTH, colours.IGNORED, colours.MISSED))
WRONG = {kind: rgb(colour) for kind, colour in colours.ERRORS.items()}


def draw_errors(
    image: np.ndarray,
    name: str,
    errors: ImageErrors,
    annotations: Sequence[Mapping[str, Any]],
    results: Sequence[Mapping[str, Any]],
    classes: Sequence[str],
) -> Image.Image:
    """One image twice: its ground truth and what was missed; its detections and what is wrong.

    Args:
        image: (C, H, W) float32 in 0..1.
        name: the title above.
        errors: of these annotations and results, which are COCO dicts.
    """
    reasons = {missed.truth: missed.reason for missed in errors.missed}
    crowd = [g for g, entry in enumerate(annotations) if entry["iscrowd"]]
    truth = [(annotations[g], "", IGNORED) for g in crowd]
    truth += [(annotations[g], "", RIGHT) for g in errors.found]
    truth += [
        (annotations[g], f"{_name(annotations[g], classes)}: {reason}", MISSED)
        for g, reason in reasons.items()
    ]
    found = [(results[d], "", IGNORED) for d in errors.ignored]
    found += [(results[d], "", RIGHT) for d in errors.found.values()]
    found += [
        (results[wrong.detection], _caption(results[wrong.detection], wrong.kind, classes), colour)
        for wrong in reversed(errors.wrong)
        for colour in [WRONG[wrong.kind]]
    ]
    left = f"{len(errors.missed)} of {len(reasons) + len(errors.found)} missed in {name}"
    right = f"{len(errors.wrong)} of {len(errors.wrong) + len(errors.found)} detections wrong"
    both = [
        titled(_drawn(image, truth), left),
        titled(_drawn(image, found), right),
    ]
    return contact_sheet(both, columns=2, margin=2)


def _drawn(image: np.ndarray, objects: Sequence[tuple[Mapping[str, Any], str, Colour]]) -> Any:
    """The image with these objects, their captions and colours; later ones on top."""
    scale = enlargement(image.shape[1:])
    boxes = np.array([_corners(entry["bbox"]) for entry, _, _ in objects]).reshape(-1, 4) * scale
    rles, size = [entry["segmentation"] for entry, _, _ in objects], image.shape[1:]
    masks = masks_from_rles(rles, size).enlarged(scale)
    captions, lines = [o[1] for o in objects], [o[2] for o in objects]
    return draw_objects(enlarged(image, scale), boxes, masks, captions, lines)


def _corners(box: Sequence[float]) -> tuple[float, ...]:
    x, y, width, height = box
    return x, y, x + width, y + height


def _name(entry: Mapping[str, Any], classes: Sequence[str]) -> str:
    return classes[entry["category_id"] - 1]


def _caption(result: Mapping[str, Any], kind: str, classes: Sequence[str]) -> str:
    return f"{_name(result, classes)} {result['score']:.2f}: {kind}"
