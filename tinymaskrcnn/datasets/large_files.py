"""The objects of a large COCO json, read when they are asked for.

Most of such a file is the corners of polygons, and most of the time goes into drawing them. So
opening it checks all other fields, and keeps the polygons as the text they are. Memory is that of
the file and some hundred bytes per object.

Not here: what an annotation must look like (coco_objects.py).
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..files import file_problem
from .coco_objects import Thing, read_object
from .issues import Issue
from .segmentation import LARGEST

LARGE = 20_000  # objects; of a file with no more, all masks are checked when it is opened
_LIST = rb"\[[-+.0-9eE,\s]*\]"
_LISTS = rb"\[\s*(?:" + _LIST + rb"(?:\s*,\s*" + _LIST + rb")*\s*)?\]"
_POLYGONS = re.compile(rb'"segmentation"\s*:\s*(' + _LISTS + rb")")


def rows_of(path: Path) -> Rows | None:
    """The table of a large COCO json. None for a smaller one, or one that has to be read as a
    whole to tell what is wrong with it.
    """
    try:
        if file_problem(path):  # a pipe would wait, a device never end
            return None
        text = path.read_bytes()
        return Rows(text) if text.count(b'"segmentation"') > LARGE else None
    except (OSError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError):
        return None


class Rows:
    """The annotations of a COCO json, as rows of a table.

    Args:
        text: the file.

    Attributes:
        content: what the json holds; in place of each annotation is the number of its row.
        ids, images, labels, crowd: the fields id, image_id, category_id and iscrowd of each row.

    Raises:
        ValueError, TypeError, LookupError, ArithmeticError, RecursionError: it is not json, or an
            annotation lacks a field, or has one of the wrong form.
    """

    def __init__(self, text: bytes) -> None:
        self._text, self._ends = text, array("q")
        self.ids: list[Any] = []
        self.images: list[Any] = []
        self.labels: list[Any] = []
        self.crowd = bytearray()
        self._boxes, self._areas = array("d"), array("d")
        self._polygons = array("q")  # the number of each row's polygons, -1: it is RLE
        self._rles: dict[int, dict] = {}
        short, end = bytearray(), 0
        for number, match in enumerate(_POLYGONS.finditer(text)):
            first, last = match.span(1)
            short += text[end:first]
            short += b"%d" % number
            self._ends.extend((first, last))
            end = last
        short += text[end:]
        self.content = json.loads(short, object_hook=self._taken)
        count = len(self.ids)
        numbers = np.abs(np.concatenate([self._boxes, self._areas]))
        usual = self.content["annotations"] == list(range(count)) and len(set(self.ids)) == count
        polygons = np.array(self._polygons, np.int64)
        usual &= np.array_equal(polygons[polygons >= 0], np.arange(len(self._ends) // 2))
        if not usual or not (numbers < LARGEST).all():
            raise ValueError("annotations of the wrong form, or two of the same id")

    def _taken(self, entry: dict) -> Any:
        """The number of the row that an annotation becomes; any other dict stays itself."""
        if "segmentation" not in entry:
            return entry
        shape, box, crowd = entry["segmentation"], entry["bbox"], entry["iscrowd"]
        ids = entry["id"], entry["image_id"], entry["category_id"]
        kinds = set(map(type, ids)) <= {int, str} and type(box) is list and len(box) == 4
        if not kinds or type(shape) not in (int, dict) or crowd not in (0, 1):
            raise ValueError("an annotation of the wrong form")
        row = len(self.ids)
        for column, id_ in zip((self.ids, self.images, self.labels), ids, strict=True):
            column.append(id_)
        self.crowd.append(crowd)
        self._boxes.extend(box)
        self._areas.append(entry["area"])
        if type(shape) is dict:
            self._rles[row] = shape
        self._polygons.append(-1 if type(shape) is dict else shape)
        return row

    def _parsed(self, number: int) -> Any:
        """The polygons of this number; if they are not json, something that is refused later."""
        try:
            return json.loads(self._text[self._ends[2 * number] : self._ends[2 * number + 1]])
        except ValueError:
            return "not json"

    def boxes(self) -> np.ndarray:
        """The boxes (N, 4) as they stand: x, y, width, height."""
        return np.array(self._boxes).reshape(-1, 4)

    def annotation(self, row: int) -> dict:
        """The annotation of a row, with the fields that reading an object needs."""
        number, box = self._polygons[row], self._boxes[4 * row : 4 * row + 4]
        return {
            "id": self.ids[row],
            "segmentation": self._rles[row] if number < 0 else self._parsed(number),
            "bbox": [int(side) if side.is_integer() else side for side in box],
            "area": self._areas[row],
            "iscrowd": self.crowd[row],
        }


class LazyObjects(Mapping):
    """Stands for a dict of the usable objects per image id, and reads those of an image when they
    are asked for.

    Args:
        rows: all annotations. sizes: height and width of each image, by id.
        owners: (N,) the place of each row's image in `sizes`, -1 for a row that is not used.
        labels: (N,) the label of each.

    Attributes:
        counts: (I,) how many objects each image has, crowds and unusable masks included.
        ordinary: (I,) how many of them are not crowds.
        found: called with the issues of each object that is read.
    """

    def __init__(
        self,
        rows: Rows,
        sizes: Mapping[Any, tuple[int, int]],
        owners: np.ndarray,
        labels: np.ndarray,
    ) -> None:
        self._rows, self._sizes, self._labels = rows, sizes, labels
        self.found: Callable[[list[Issue]], None] = lambda issues: None
        self._places = {id_: place for place, id_ in enumerate(sizes)}
        self._order = np.argsort(owners, kind="stable")
        self._starts = np.searchsorted(owners, np.arange(len(sizes) + 1), sorter=self._order)
        self.counts = np.diff(self._starts)
        ordinary = owners[(owners >= 0) & (np.frombuffer(rows.crowd, np.uint8) == 0)]
        self.ordinary = np.bincount(ordinary, minlength=len(sizes))

    def __len__(self) -> int:
        return len(self._sizes)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._sizes)

    def __getitem__(self, id_: Any) -> list[Thing]:
        place, (height, width) = self._places[id_], self._sizes[id_]
        things = []
        for row in self._order[self._starts[place] : self._starts[place + 1]].tolist():
            annotation = self._rows.annotation(row)
            thing, issues = read_object(annotation, height, width, thorough=False)
            self.found([replace(issue, annotation=annotation["id"]) for issue in issues])
            if thing is not None:
                things.append({**thing, "label": int(self._labels[row])})
        return things


def object_counts(
    images: Sequence[dict], objects: Mapping[Any, list[Thing]]
) -> tuple[np.ndarray, np.ndarray]:
    """How many objects each image has, and how many of them are not crowds: (I,) each."""
    if isinstance(objects, LazyObjects):
        return objects.counts, objects.ordinary
    things = [objects[entry["id"]] for entry in images]
    crowds = np.array([sum(thing["iscrowd"] for thing in some) for some in things], np.int64)
    counts = np.array([len(some) for some in things], np.int64)
    return counts, counts - crowds


def without_area(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Which boxes (N, 4) x, y, width, height have no area inside their images, of these heights and
    widths (N, 2): (N,) bool.
    """
    low = np.maximum(boxes[:, :2], 0)
    high = np.minimum(boxes[:, :2] + boxes[:, 2:], sizes[:, ::-1])
    return (high <= low).any(axis=1)
