"""Detections and targets as the dicts of COCO json: boxes as x, y, width, height, masks as RLE."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from ..datasets.run_lengths import as_text, rles_from_masks
from ..detection.cropped_masks import CroppedMasks
from ..models.inputs import Target


class Found(Protocol):
    """What this file needs of one image's detections; `detection.Detections` has it."""

    @property
    def boxes(self) -> np.ndarray: ...

    @property
    def labels(self) -> np.ndarray: ...

    @property
    def scores(self) -> np.ndarray: ...

    def rles(self) -> list[dict[str, Any]]: ...


def coco_results(
    detections: Found, image_id: Any, category_ids: Sequence[Any] | None = None
) -> list[dict[str, Any]]:
    """The detections of one image as COCO results, best first, ready for `json.dumps`.

    Each dict has image_id, category_id, score, bbox [x, y, width, height] in pixels, and
    segmentation (compressed RLE, counts as str).

    Args:
        category_ids: `category_ids[k - 1]` is the id of label k; without it the label itself is
            written.
    """
    return [
        {
            "image_id": image_id,
            "category_id": category_ids[label - 1] if category_ids else label,
            "score": score,
            "bbox": box,
            "segmentation": rle,
        }
        for label, score, box, rle in zip(
            detections.labels.tolist(),
            detections.scores.tolist(),
            sized_boxes(detections.boxes),
            map(as_text, detections.rles()),
            strict=True,
        )
    ]


def coco_annotations(target: Target, image_id: Any) -> list[dict[str, Any]]:
    """The objects of one target as COCO annotations, without ids; category_id is the label.

    If a hand-made target lacks area, that of the mask is used; if it lacks iscrowd, no object is
    one.
    """
    masks = CroppedMasks.of(target["masks"])
    areas = target.get("area", masks.areas())
    crowd = target.get("iscrowd", np.zeros(len(areas), bool))
    return [
        {
            "image_id": image_id,
            "category_id": label,
            "bbox": box,
            "area": float(area),
            "iscrowd": int(flag),
            "segmentation": as_text(rle),
        }
        for label, box, area, flag, rle in zip(
            target["labels"].tolist(),
            sized_boxes(target["boxes"]),
            areas,
            crowd,
            rles_from_masks(masks),
            strict=True,
        )
    ]


def sized_boxes(boxes: np.ndarray) -> list[list[float]]:
    """Boxes (N, 4) x1, y1, x2, y2 as lists x, y, width, height."""
    corners = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1).tolist()
