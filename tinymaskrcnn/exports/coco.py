"""predictions.json: COCO JSON with scores, masks as RLE."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from .. import rle_tools
from ..evaluation.results import coco_results
from ..files import mark
from .predicted import PredictedImage, Source


class Prediction(NamedTuple):
    """The height and width of an image, and its COCO results without ids, masks as run lengths."""

    size: tuple[int, int]
    results: list[dict[str, Any]]


def part(found: PredictedImage) -> Prediction:
    """What `coco_json` needs of an image."""
    return Prediction(found.size, coco_results(found.detections, 0))


def coco_json(
    inputs: Iterable[Source], predictions: Iterable[Prediction | None], classes: Sequence[str]
) -> Iterator[bytes]:
    """Pieces of a COCO json whose annotations have scores, as pycocotools' loadRes takes them.

    Args:
        inputs: the images.
        predictions: one per image.
        classes: names in label order; they become categories 1, 2, ...
    """
    images: list[dict[str, Any]] = []
    count = 0
    yield f'{{"info": {{"description": "{mark("predict")}"}}, "annotations": ['.encode()
    for (path, page), prediction in zip(inputs, predictions, strict=True):
        if prediction is None:
            continue
        height, width = prediction.size
        image = {
            "id": len(images) + 1,
            "file_name": path.as_posix(),
            "width": width,
            "height": height,
        }
        image |= {"page": page} if page else {}
        images.append(image)
        for result in prediction.results:
            count += 1
            extra = {"id": count, "iscrowd": 0, "area": area(result["segmentation"])}
            annotation = {**result, "image_id": image["id"], **extra}
            yield b", " * (count > 1) + json.dumps(annotation).encode()
    categories = [{"id": k, "name": name} for k, name in enumerate(classes, start=1)]
    yield f'], "images": {json.dumps(images)}, "categories": {json.dumps(categories)}}}'.encode()


def area(rle: dict[str, Any]) -> float:
    """Pixels of a mask."""
    return float(rle_tools.area(rle))
