"""Read one annotation of a COCO json: its mask, box, area, crowd flag, and their issues."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import rle_tools
from ..detection.boxes import paired_iou
from ..errors import InputError
from . import polygons
from .issues import INCOMPLETE, LEFT_OUT, ODD, REFUSED, Issue, brief
from .segmentation import UnusableObject, is_numbers, read_segmentation

SLACK = 2.0  # pixels; boxes whose sides differ by no more are not compared
CLOSE, FAR = 0.9, 0.5  # IoU with the mask's box below which a box is odd, or unusable
OUTSIDE = 1.0  # pixels that a polygon may reach past the image
AREA_FACTOR, AREA_SLACK = 2.0, 10.0
BAD_BOX = "a box without area inside its image"

Thing = dict[str, Any]  # id, rle, box (x1, y1, x2, y2), area, iscrowd; later also label


def read_object(
    annotation: dict, height: int, width: int, thorough: bool = True
) -> tuple[Thing | None, list[Issue]]:
    """What training needs from an annotation (None if it cannot be used), and its issues.

    Args:
        thorough: whether to search for what is odd about its polygons, which takes longest.
    """
    where = f"annotation {annotation['id']}"
    try:
        rle = read_segmentation(where, annotation.get("segmentation"), height, width)
    except UnusableObject as problem:
        return None, [Issue(LEFT_OUT, str(problem), where)]
    except InputError as problem:
        detail = str(problem).removeprefix(f"{where}: ")
        return None, [Issue(REFUSED, "a segmentation of the wrong form", where, detail)]
    own = {"bbox": rle_tools.toBbox(rle).tolist(), "area": float(rle_tools.area(rle)), "iscrowd": 0}
    stated = {field: annotation.get(field, value) for field, value in own.items()}
    wrong = [Issue(REFUSED, *found) for found in wrong_fields(where, **stated)]
    if wrong:
        return None, wrong
    corners = clipped(stated["bbox"], height, width)
    issues = [
        Issue(INCOMPLETE, f"no {field}, which evaluation needs", where)
        for field in own
        if field not in annotation
    ]
    issues += box_issues(where, stated["bbox"], corners, own["bbox"])
    issues += area_issues(where, stated["area"], own["area"])
    if thorough:
        issues += oddities(where, annotation["segmentation"], height, width)
    if any(issue.level == LEFT_OUT for issue in issues):
        return None, issues
    kept = {"id": annotation["id"], "box": corners, "rle": rle, "area": stated["area"]}
    return {**kept, "iscrowd": bool(stated["iscrowd"])}, issues


def wrong_fields(where: str, bbox: Any, area: Any, iscrowd: Any) -> list[tuple[str, str, str]]:
    """The kind, place and detail of each field of the wrong form."""
    wrong = []
    if not is_numbers(bbox) or len(bbox) != 4:
        wrong.append(("bbox", bbox, "four numbers x, y, width, height"))
    if not is_numbers([area]):
        wrong.append(("area", area, "a number"))
    if iscrowd not in (0, 1):
        wrong.append(("iscrowd", iscrowd, "0 or 1"))
    return [
        (f"a wrong {field}", where, f"{field} is {brief(value)}, expected {expected}")
        for field, value, expected in wrong
    ]


def clipped(box: list[float], height: int, width: int) -> tuple[float, float, float, float]:
    """A `bbox` field (x, y, width, height) as x1, y1, x2, y2, clipped to the image."""
    x, y, w, h = box
    return max(x, 0.0), max(y, 0.0), min(x + w, width), min(y + h, height)


def box_issues(
    where: str, box: list[float], corners: tuple[float, ...], mask_box: list[float]
) -> list[Issue]:
    """What is wrong with a box, compared with its image and its mask."""
    if corners[2] <= corners[0] or corners[3] <= corners[1]:
        detail = f"bbox {box} has no area inside its image"
        return [Issue(LEFT_OUT, BAD_BOX, where, detail)]
    x, y, w, h = mask_box
    tight = np.array([x, y, x + w, y + h])
    agreement = paired_iou(np.array(corners, float), tight)
    off = max(abs(side - other) for side, other in zip(corners, tight, strict=True))
    if agreement >= CLOSE or off <= SLACK:
        return []
    stated = ", ".join(f"{number:g}" for number in box)
    detail = f"bbox {stated}; the mask's is {', '.join(f'{number:g}' for number in mask_box)}"
    if paired_iou(np.array(box, float), tight) >= CLOSE:
        detail += "; it fits if read as x1, y1, x2, y2"
    if agreement < FAR:
        return [Issue(LEFT_OUT, "a box far from its mask", where, detail)]
    return [Issue(ODD, "a box that disagrees with its mask", where, detail)]


def area_issues(where: str, area: float, mask_area: float) -> list[Issue]:
    """What is wrong with an area, compared with its mask's."""
    slack = max(AREA_SLACK, (1 - 1 / AREA_FACTOR) * max(area, mask_area))
    if abs(area - mask_area) <= slack:
        return []
    detail = f"area {area:g}, its mask's is {mask_area:g}"
    return [Issue(ODD, "an area that disagrees with its mask", where, detail)]


def oddities(where: str, segmentation: Any, height: int, width: int) -> list[Issue]:
    """What is odd about polygons that are usable nevertheless."""
    if isinstance(segmentation, dict):
        return []
    kinds = {}
    for part in segmentation:
        points = np.array(part, float).reshape(-1, 2)
        if polygons.area(points) == 0:
            kinds["a polygon without area beside others"] = True
        if polygons.crosses_itself(points):
            kinds["a polygon that crosses itself"] = True
        if points.min() < -OUTSIDE or (points > (width + OUTSIDE, height + OUTSIDE)).any():
            kinds["a polygon that reaches outside its image"] = True
    return [Issue(ODD, kind, where) for kind in kinds]
