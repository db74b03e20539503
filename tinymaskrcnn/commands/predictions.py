"""predictions.json: what `predict --json` tells of many pictures. It is kept on disk until the end,
so that memory does not grow with their number.
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
    """Of one picture: its height and width, and COCO results without ids, masks as run lengths."""

    size: tuple[int, int]
    results: list[dict[str, Any]]


class Source(NamedTuple):
    """A picture file; where one was asked for, a page of it (from 1)."""

    path: Path
    page: int | None = None

    def __str__(self) -> str:
        return str(self.path) + (f" page {self.page}" if self.page else "")


class Spool:
    """The predictions of one process in their order, in a file without a name: it is gone with the
    process, however that ends, or closed with its context.

    - `folder`: where the file is; an OSError, as of a full disk, names it.
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
        """None stands for a picture that could not be used."""
        with naming(self.folder):
            self._file.write(json.dumps(prediction).encode() + b"\n")

    def __iter__(self) -> Iterator[Prediction | None]:
        with naming(self.folder):
            self._file.seek(0)  # writes out what is still in memory
        for line in self._file:
            content = json.loads(line)
            yield content and Prediction(tuple(content[0]), content[1])


def in_order(spool: Spool, total: int, group: Group) -> Iterator[Prediction | None]:
    """Of all `total` pictures, where picture i is rank i % size's. Every rank has to go through."""
    own = iter(spool)
    for start in range(0, total, group.size):
        yield from group.gathered(next(own, None))[: total - start]


def coco_json(
    inputs: Iterable[Source], predictions: Iterable[Prediction | None], classes: Sequence[str]
) -> Iterator[bytes]:
    """A COCO json of what is found, piece by piece: its annotations have scores, and are what
    loadRes takes.

    Args:
        inputs: the pictures. predictions: one of each.
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
