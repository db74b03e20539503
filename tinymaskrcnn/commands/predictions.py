"""predictions.json: the objects of many images. They are kept on disk until the end, so that memory
does not grow with the number of images.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pycocotools import mask as rle_tools

from ..files import mark, naming
from ..training.distributed import Group


class Prediction(NamedTuple):
    """The height and width of an image, and its COCO results without ids, masks as run lengths."""

    size: tuple[int, int]
    results: list[dict[str, Any]]


class Source(NamedTuple):
    """An image file; the page of it (from 1) if one was asked for."""

    path: Path
    page: int | None = None

    def __str__(self) -> str:
        return str(self.path) + (f" page {self.page}" if self.page else "")


class Spool:
    """The predictions of one process in their order, in a file without a name, which disappears
    with the process, however that ends.

    Args:
        folder: of the file; an OSError, such as a full disk, names it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with naming(folder):
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def add(self, prediction: Prediction | None) -> None:
        """None stands for an image that could not be used."""
        with naming(self.folder):
            self._file.write(json.dumps(prediction).encode() + b"\n")

    def __iter__(self) -> Iterator[Prediction | None]:
        with naming(self.folder):
            self._file.seek(0)  # writes out what is still in memory
        for line in self._file:
            content = json.loads(line)
            yield content and Prediction(tuple(content[0]), content[1])


def in_order(spool: Spool, total: int, group: Group) -> Iterator[Prediction | None]:
    """The predictions of all `total` images; rank i % size has image i. All ranks must iterate."""
    own = iter(spool)
    for start in range(0, total, group.size):
        yield from group.gathered(next(own, None))[: total - start]


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
