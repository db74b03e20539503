"""Read a COCO json file to its end, whatever is wrong with it, and note every issue.

`CocoDataset` makes a data set of it. Image files are searched for here, but not opened.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..files import file_problem
from .coco_objects import Thing, read_object
from .image_finder import BARE, ImageFinder
from .images import MAX_PIXELS, check_size
from .issues import ODD, REFUSED, Issue, brief
from .large_files import LazyObjects, Rows, object_counts, rows_of, without_area

FIELDS = {
    "categories": ("name",),
    "images": ("file_name", "height", "width"),
    "annotations": (),
}
SINGULAR = {"categories": "category", "images": "image", "annotations": "annotation"}
BACKGROUND = ("background", "__background__", "_background_")


class CocoFile:
    """The content of a COCO json, without the entries that cannot be used.

    Args:
        images_dir: the folder of the images; by default `images/` beside the json, then the json's
            own.
        classes: names in label order; by default the categories in the order of their ids.
        content: the content of the file, if it has been read already.
        lazy: read the objects of a large file, and see what is wrong with their masks, when they
            are asked for.

    Attributes:
        images: the usable entries, in file order.
        files: the image file found for each image id.
        objects: the usable objects for each image id: `coco_objects.Thing` with `label`; a
            `LazyObjects` if they are read when they are asked for.
        annotations: the entries by id, as they stand in the file; none if the objects are lazy.
        issues: everything that is wrong.
        classes: `classes[k - 1]` is the name of label k.
        category_ids: `category_ids[k - 1]` is the id of label k in the file; None if it has none.

    Raises:
        InputError: the file is not COCO json at all.
    """

    def __init__(
        self,
        json_path: str | Path,
        images_dir: str | Path | None = None,
        classes: Sequence[str] | None = None,
        max_pixels: int = MAX_PIXELS,
        content: dict[str, list[dict]] | None = None,
        lazy: bool = False,
    ):
        self.path = Path(json_path)
        self.issues: list[Issue] = []
        self._unusable: dict[str, set] = {}  # ids of entries that exist but cannot be used
        rows = rows_of(self.path) if lazy else None
        if rows is not None:
            content = with_lists(self.path, rows.content, ("images", "categories"))
        elif content is None:
            content = read_json(self.path)
        self.categories = self._entries("categories", content["categories"])
        self.classes, self.category_ids = self._class_order(classes)
        self.images = list(self._entries("images", content["images"]).values())
        self.files = self._find_images(images_dir)
        self._check_sizes(max_pixels)
        self.annotations: dict[Any, dict] = {}
        self.objects: Mapping[Any, list[Thing]] = (
            self._read_objects(content["annotations"]) if rows is None else self._lazy(rows)
        )
        self._check_images()

    def _add(self, level: str, kind: str, where: str, detail: str = "", **ids: Any) -> None:
        self.issues.append(Issue(level, kind, where, detail, **ids))

    def _entries(self, kind: str, entries: list[dict]) -> dict[Any, dict]:
        """The usable entries by id, in file order."""
        found: dict[Any, dict] = {}
        bad = self._unusable.setdefault(kind, set())
        for number, entry in enumerate(entries):
            id_ = entry.get("id")
            if not is_id(id_):
                detail = "it has no id" if id_ is None else f"its id is {brief(id_)}"
                self._add(REFUSED, f"{kind} without an id", f"{kind}[{number}]", detail)
                continue
            if id_ in found or id_ in bad:
                where = f"{SINGULAR[kind]} {brief(id_)}"
                self._add(REFUSED, f"two {kind} with the same id", where)
                continue
            wrong = [w for field in FIELDS[kind] if (w := wrong_field(field, entry.get(field)))]
            for field, detail in wrong:
                where = f"{SINGULAR[kind]} {brief(id_)}"
                self._add(REFUSED, f"{kind} with a missing or wrong {field}", where, detail)
            if wrong:
                bad.add(id_)
            else:
                found[id_] = entry
        return found

    def _class_order(self, classes: Sequence[str] | None) -> tuple[list[str], list[Any]]:
        """The class names and their category ids, in label order."""
        ids: dict[str, Any] = {}
        for id_, entry in self.categories.items():
            name, where = entry["name"], f"category {brief(id_)}"
            if name in ids:
                self._add(REFUSED, "categories with the same name", where, f"named {brief(name)}")
            elif name.lower() in BACKGROUND:
                detail = f"label 0 is the background, but {brief(name)} becomes a class of its own"
                self._add(ODD, "labels off by one: a class called background", where, detail)
            ids.setdefault(name, id_)
        if not ids:
            self._add(REFUSED, "no categories", "categories", "there are none that can be used")
        if 0 in self.categories:
            kind, where = "labels off by one: category ids from 0", "category 0"
            self._add(ODD, kind, where, "correct here, but other tools take 0 for the background")
        by_number = sorted(ids, key=lambda name: (isinstance(ids[name], str), ids[name]))
        names = by_number if classes is None else list(classes)
        for name in sorted(set(ids) - set(names)):
            where = f"category {brief(ids[name])}"
            detail = f"{brief(name)} is not among the classes {brief(names)}"
            self._add(REFUSED, "categories that are not among the classes", where, detail)
        return names, [ids.get(name) for name in names]

    def _find_images(self, images_dir: str | Path | None) -> dict[Any, Path]:
        """The image file of each image id for which there is one."""
        folders = [Path(images_dir)] if images_dir else [self.path.parent / "images"]
        folders += [] if images_dir else [self.path.parent]
        tried = " or ".join(str(folder) for folder in folders)
        finder = ImageFinder(folders)
        files: dict[Any, Path] = {}
        for entry in self.images:
            file = finder.find(entry["file_name"])
            if file is None:
                where, id_ = image_name(entry), entry["id"]
                self._add(REFUSED, "missing images", where, f"not in {tried}", image=id_)
            else:
                files[entry["id"]] = file
        ambiguous = finder.ambiguous()
        for entry in self.images if finder.bare else ():
            where, id_, name = image_name(entry), entry["id"], entry["file_name"]
            if reason := ambiguous.get(name):
                self._add(REFUSED, "images with an ambiguous name", where, reason, image=id_)
            elif name in finder.bare:
                self._add(ODD, BARE, where, f"as {finder.bare[name]}", image=id_)
        return files

    def _check_sizes(self, max_pixels: int) -> None:
        """Note images that are too large to be read."""
        usable = []
        for entry in self.images:
            try:
                check_size(image_name(entry), (entry["width"], entry["height"]), max_pixels)
            except InputError as problem:
                where = image_name(entry)
                detail = str(problem).removeprefix(f"{where}: ")
                self._unusable["images"].add(id_ := entry["id"])
                self._add(REFUSED, "images larger than the limit", where, detail, image=id_)
            else:
                usable.append(entry)
        self.images = usable

    def _read_objects(self, annotations: list[dict]) -> dict[Any, list[Thing]]:
        """The usable objects by image id."""
        entries = {entry["id"]: entry for entry in self.images}
        objects: dict[Any, list[Thing]] = {id_: [] for id_ in entries}
        labels = {id_: label for label, id_ in enumerate(self.category_ids, start=1)}
        self.annotations = self._entries("annotations", annotations)
        self._check_shift(a.get("category_id") for a in self.annotations.values())
        seen: set = set()
        for id_, annotation in self.annotations.items():
            where = f"annotation {brief(id_)}"
            entry = self._look_up(where, annotation, "image_id", "images", entries)
            label = self._look_up(where, annotation, "category_id", "categories", labels)
            if entry is None or label is None:
                continue
            thing, issues = read_object(annotation, entry["height"], entry["width"])
            self.issues += [replace(issue, annotation=id_) for issue in issues]
            if thing is None:
                continue
            objects[entry["id"]].append({**thing, "label": label})
            key = (entry["id"], label, thing["iscrowd"], thing["rle"]["counts"])
            if key in seen:
                self._add(ODD, "objects listed twice", where, annotation=id_)
            seen.add(key)
        return objects

    def _lazy(self, rows: Rows) -> LazyObjects:
        """All objects, to be read later; their boxes and what they refer to are checked now."""
        sizes = {entry["id"]: (entry["height"], entry["width"]) for entry in self.images}
        places = {id_: place for place, id_ in enumerate(sizes)}
        known = {id_: label for label, id_ in enumerate(self.category_ids, start=1)}
        self._check_shift(rows.labels)
        owners = np.array([places.get(id_, -1) for id_ in rows.images], np.int64)
        labels = np.array([known.get(id_, 0) for id_ in rows.labels], np.int64)
        for row in np.flatnonzero((owners < 0) | (labels == 0)).tolist():
            id_, image, label = rows.ids[row], rows.images[row], rows.labels[row]
            where, entry = f"annotation {brief(id_)}", {"id": id_, "image_id": image}
            self._look_up(where, entry, "image_id", "images", places)
            self._look_up(
                where, {"id": id_, "category_id": label}, "category_id", "categories", known
            )
            owners[row] = -1
        bad = without_area(rows.boxes(), np.array([*sizes.values(), (1, 1)])[owners])
        for row in np.flatnonzero(bad & (owners >= 0)).tolist():
            annotation, size = rows.annotation(row), sizes[rows.images[row]]
            _, issues = read_object(annotation, *size, thorough=False)
            self.issues += [replace(issue, annotation=annotation["id"]) for issue in issues]
            owners[row] = -1
        return LazyObjects(rows, sizes, owners, labels)

    def _look_up(self, where: str, annotation: dict, field: str, kind: str, known: dict) -> Any:
        """The entry that the annotation's `field` refers to; None if it is not usable."""
        value = annotation.get(field)
        if is_id(value) and value in known:
            return known[value]
        reported = self._unusable[kind] | (set(self.categories) if kind == "categories" else set())
        if not is_id(value) or value not in reported:
            detail = f"{field} is {brief(value)}, which the file does not define"
            detail = f"{field} is missing" if value is None else detail
            self._add(REFUSED, f"unknown {kind}", where, detail, annotation=annotation["id"])
        return None

    def _check_shift(self, category_ids: Iterable[Any]) -> None:
        """Note category ids of annotations that would all be right if one more or one less."""
        used = {id_ for id_ in category_ids if type(id_) is int}
        known = {id_ for id_ in self.categories if type(id_) is int}
        for shift in (1, -1):
            if used and known and not used <= known and {u + shift for u in used} <= known:
                detail = (
                    f"category_id is {min(used)} to {max(used)}, but the categories are "
                    f"{min(known)} to {max(known)}; all would fit if they were one "
                    f"{'more' if shift > 0 else 'less'}"
                )
                kind = "labels off by one: category ids of annotations"
                self._add(REFUSED, kind, "annotations", detail)

    def _check_images(self) -> None:
        """Note images without objects, and image files that are listed twice."""
        seen: set = set()
        counts = object_counts(self.images, self.objects)[0]
        for entry, count in zip(self.images, counts.tolist(), strict=True):
            if not count:
                self._add(ODD, "images without objects", image_name(entry), image=entry["id"])
            if entry["file_name"] in seen:
                where, id_ = image_name(entry), entry["id"]
                self._add(ODD, "image files listed twice", where, image=id_)
            seen.add(entry["file_name"])


def read_json(path: Path) -> dict[str, list[dict]]:
    """The content of a COCO json file; its three lists are present and consist of dicts."""
    return with_lists(path, parse_json(path), ("images", "annotations", "categories"))


def with_lists(path: Path, content: Any, names: Sequence[str]) -> dict[str, list[dict]]:
    """The content. Raises InputError unless these lists are present and consist of dicts."""
    for name in names:
        entries = content.get(name) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            raise InputError(
                f"{path}: not COCO json: no list of objects named {name!r} (tinymaskrcnn convert "
                "turns VIA and labelme json into it)"
            )
    return content


def parse_json(path: Path) -> Any:
    """The content of any json file. Raises InputError, naming the file, if it is not json."""
    if problem := file_problem(path):
        raise InputError(f"{path}: {problem}")
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot read the file: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a json file: {error}") from None


def is_id(value: Any) -> bool:
    """Whether a value can be an id: an integer or a string."""
    return isinstance(value, int | str) and not isinstance(value, bool)


def wrong_field(field: str, value: Any) -> tuple[str, str] | None:
    """The field and what is wrong with its value; None if it is right.

    `height` and `width` must be integers above 0, other fields non-empty strings.
    """
    if field in ("height", "width"):
        fits, expected = type(value) is int and 0 < value < 2**31, "a whole number above 0"
    else:
        fits, expected = isinstance(value, str) and value != "", "a text"
    if fits:
        return None
    state = "missing" if value is None else brief(value)
    return field, f"{field} is {state}, expected {expected}"


def image_name(entry: dict) -> str:
    """How messages call an entry of `images`."""
    return f"image {entry['file_name']}"
