"""Pictures and objects from a COCO json file.

Polygons, compressed and uncompressed RLE, crowds, category ids with gaps and pictures without
objects. Masks are kept as RLE and decoded for one picture at a time. A file that contradicts itself
is refused; single objects that cannot be trained on are left out, with a warning and a count
(`dataset.skipped`). Finding everything else that is odd about a set is not done here.
"""

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as rle_tools

from ..errors import InputError
from .images import MAX_PIXELS, check_size, read_image
from .segmentation import UnusableObject, is_numbers, read_segmentation
from .targets import Target

FIELDS = {
    "categories": ("name",),
    "images": ("file_name", "height", "width"),
    "annotations": (),
}
log = logging.getLogger(__name__)


class BadBox(InputError):
    """A box without area inside its picture."""


class CocoDataset:
    """The pictures of one COCO json file, in its order.

    - `images_dir`: where the pictures are; otherwise `images/` beside the json, then beside it.
    - `channels`: 3 for RGB (grey pictures become grey RGB), 1 for grey.
    - `classes`: names in label order, when the labels must be those of another set; otherwise the
      categories in the order of their ids become labels 1..K, and `category_ids[k - 1]` is the id
      that label k had.

    `dataset[i]` is (image float32 (channels, H, W) in 0..1, target); targets as in `targets.py`,
    boxes as the file states them, clipped to the picture.

    Raises InputError, naming the file and the annotation, for a json that cannot be read, missing
    fields, ids that occur twice, objects of unknown pictures or categories, missing pictures, and
    boxes without area inside their picture (left out instead with `skip_bad_boxes`).
    Left out with a warning: objects without a segmentation, or with one that covers no pixel, has
    fewer than three points, or lies far outside the picture.
    """

    def __init__(
        self,
        json_path: str | Path,
        images_dir: str | Path | None = None,
        channels: int = 3,
        classes: Sequence[str] | None = None,
        max_pixels: int = MAX_PIXELS,
        skip_bad_boxes: bool = False,
    ):
        self.path, self.channels, self.max_pixels = Path(json_path), channels, max_pixels
        self.skip_bad_boxes = skip_bad_boxes
        content = read_json(self.path)
        self.classes, self.category_ids = class_order(self.path, content["categories"], classes)
        self.images = list(by_id(self.path, "images", content["images"]).values())
        for entry in self.images:
            where = f"{self.path}: picture {entry['file_name']}"
            check_size(where, (entry["width"], entry["height"]), max_pixels)
        self.files = find_pictures(self.path, self.images, images_dir)
        self.skipped: dict[str, list[Any]] = {}
        self.objects = self.read_objects(content["annotations"])
        for reason, ids in self.skipped.items():
            some = ", ".join(map(str, ids[:5])) + (", ..." if len(ids) > 5 else "")
            log.warning("%s: left out %d object(s), %s: %s", self.path, len(ids), reason, some)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[np.ndarray, Target]:
        entry = self.images[index]
        image = read_image(self.files[index], self.channels, self.max_pixels)
        height, width = image.shape[1:]
        if (height, width) != (entry["height"], entry["width"]):
            raise InputError(
                f"{self.files[index]}: the picture is {width} x {height}, but {self.path} says "
                f"{entry['width']} x {entry['height']}"
            )
        return image, self.target(index)

    def target(self, index: int) -> Target:
        """The target of picture `index`, without reading the picture."""
        entry = self.images[index]
        objects = self.objects[entry["id"]]
        masks = rle_tools.decode([thing["rle"] for thing in objects]) if objects else np.zeros(0)
        masks = masks.reshape(entry["height"], entry["width"], len(objects)).transpose(2, 0, 1)
        return {
            "boxes": np.array([o["box"] for o in objects], np.float32).reshape(-1, 4),
            "labels": np.array([o["label"] for o in objects], np.int64),
            "masks": np.ascontiguousarray(masks, np.uint8),
            "area": np.array([o["area"] for o in objects], np.float32),
            "iscrowd": np.array([o["iscrowd"] for o in objects], bool),
            "image_id": entry["id"],
        }

    def describe(self, index: int) -> str:
        """The file of picture `index`, for messages."""
        return str(self.files[index])

    def read_objects(self, annotations: list[dict]) -> dict[Any, list[dict]]:
        """The usable objects of every picture, by picture id."""
        entries = {entry["id"]: entry for entry in self.images}
        labels = {id_: label for label, id_ in enumerate(self.category_ids, start=1)}
        objects: dict[Any, list[dict]] = {id_: [] for id_ in entries}
        for annotation in by_id(self.path, "annotations", annotations).values():
            where = f"{self.path}: annotation {annotation['id']}"
            entry = look_up(where, "image_id", annotation, entries)
            label = look_up(where, "category_id", annotation, labels)
            try:
                thing = read_object(where, annotation, entry["height"], entry["width"])
            except UnusableObject as defect:
                self.skipped.setdefault(str(defect), []).append(annotation["id"])
            except BadBox:
                if not self.skip_bad_boxes:
                    raise
                self.skipped.setdefault("a bad box", []).append(annotation["id"])
            else:
                objects[entry["id"]].append({**thing, "label": label})
        return objects


def read_json(path: Path) -> dict[str, list[dict]]:
    """The content of a COCO json file, its three lists present and made of dicts."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot read the file: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a json file: {error}") from None
    for name in ("images", "annotations", "categories"):
        entries = content.get(name) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            raise InputError(f"{path}: not COCO json: no list of objects named {name!r}")
    return content


def by_id(path: Path, kind: str, entries: list[dict]) -> dict[Any, dict]:
    """Entries by their id, in file order, with the fields that their kind needs."""
    found: dict[Any, dict] = {}
    for number, entry in enumerate(entries):
        if not isinstance(entry.get("id"), int | str):
            raise InputError(f"{path}: {kind}[{number}] has no id")
        if entry["id"] in found:
            raise InputError(f"{path}: two {kind} have the id {entry['id']}")
        for field in FIELDS[kind]:
            check_field(f"{path}: {kind} with id {entry['id']}", field, entry.get(field))
        found[entry["id"]] = entry
    return found


def check_field(where: str, field: str, value: Any) -> None:
    """Refuse a name that is no text, or a length that is no whole number above 0."""
    if field in ("height", "width"):
        fits, expected = type(value) is int and 0 < value < 2**31, "a whole number above 0"
    else:
        fits, expected = isinstance(value, str) and value != "", "a text"
    if not fits:
        raise InputError(f"{where}: {field} is {value!r}, expected {expected}")


def class_order(
    path: Path, categories: list[dict], classes: Sequence[str] | None
) -> tuple[list[str], list[Any]]:
    """Class names and the category id of each, in label order."""
    ids = {entry["name"]: id_ for id_, entry in by_id(path, "categories", categories).items()}
    if len(ids) < len(categories) or not ids:
        raise InputError(f"{path}: categories need names that differ, got {list(ids)}")
    by_number = sorted(ids, key=lambda name: (isinstance(ids[name], str), ids[name]))
    names = by_number if classes is None else list(classes)
    unknown = sorted(set(ids) - set(names))
    if unknown:
        raise InputError(f"{path}: categories {unknown} are not among the classes {names}")
    return names, [ids.get(name) for name in names]


def find_pictures(path: Path, images: list[dict], images_dir: str | Path | None) -> list[Path]:
    """The file of every picture."""
    folders = [Path(images_dir)] if images_dir else [path.parent / "images", path.parent]
    files = []
    for entry in images:
        places = [folder / entry["file_name"] for folder in folders]
        file = next(filter(os.path.isfile, places), None)
        if file is None:
            tried = " or ".join(str(folder) for folder in folders)
            raise InputError(f"{path}: picture {entry['file_name']} is not in {tried}")
        files.append(file)
    return files


def look_up(where: str, field: str, annotation: dict, known: dict) -> Any:
    """What the annotation's `field` refers to."""
    value = annotation.get(field)
    if not isinstance(value, int | str) or value not in known:
        raise InputError(f"{where}: {field} is {value!r}, which the file does not define")
    return known[value]


def read_object(where: str, annotation: dict, height: int, width: int) -> dict:
    """An annotation's box, mask, area and crowd flag; InputError or UnusableObject otherwise."""
    rle = read_segmentation(where, annotation.get("segmentation"), height, width)
    area = annotation.get("area", float(rle_tools.area(rle)))
    if not is_numbers([area]):
        raise InputError(f"{where}: area is {area!r}, expected a number")
    box = read_box(where, annotation.get("bbox", rle_tools.toBbox(rle).tolist()), height, width)
    return {"box": box, "rle": rle, "area": area, "iscrowd": bool(annotation.get("iscrowd", 0))}


def read_box(where: str, box: Any, height: int, width: int) -> tuple[float, float, float, float]:
    """A bbox field x, y, width, height as x1, y1, x2, y2 clipped to the picture."""
    if not is_numbers(box) or len(box) != 4:
        raise InputError(f"{where}: bbox is {box!r}, expected four numbers x, y, width, height")
    x, y, w, h = box
    clipped = max(x, 0.0), max(y, 0.0), min(x + w, width), min(y + h, height)
    if clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
        raise BadBox(f"{where}: bbox {box} has no area inside its {width} x {height} picture")
    return clipped
