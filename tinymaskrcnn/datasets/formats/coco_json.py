"""COCO json read to be written anew: sizes that are missing come from the pictures, boxes and areas
from the masks; ids, and whatever else its entries hold, stay.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import InputError
from ..coco_file import CocoFile, read_json
from ..defects import LEFT_OUT, REFUSED
from ..images import picture_size
from .annotations import (
    AnnotatedObject,
    AnnotatedPicture,
    Annotations,
    Options,
    as_text,
    locate,
)

OWN_LISTS = ("images", "annotations", "categories")


def is_coco(content: Any) -> bool:
    """Whether a json is COCO's."""
    return isinstance(content, dict) and all(isinstance(content.get(n), list) for n in OWN_LISTS)


def read(source: Path, options: Options) -> Annotations:
    """The pictures of a COCO json.

    Raises InputError where it contradicts itself in more than sizes, boxes and areas.
    """
    content = read_json(source)
    folders = [options.images_dir] if options.images_dir else [source.parent / "images"]
    folders += [] if options.images_dir else [source.parent]
    for entry in content["images"]:
        complete_size(entry, folders)
    for annotation in content["annotations"]:
        for field in ("bbox", "area"):
            annotation.pop(field, None)
        if annotation.get("iscrowd") is None:
            annotation["iscrowd"] = 0
    file = CocoFile(source, options.images_dir, content=content)
    reasons = [defect for defect in file.defects if defect.level == REFUSED]
    if reasons:
        raise InputError(f"{source}: {reasons[0]} ({len(reasons)} such; check-data lists them)")
    names = {entry["id"]: entry["name"] for entry in content["categories"]}
    pictures = [picture_of(file, entry, names) for entry in file.images]
    defects = [defect for defect in file.defects if defect.level == LEFT_OUT]
    extra = {name: value for name, value in content.items() if name not in OWN_LISTS}
    return Annotations(pictures, defects, content["categories"], extra)


def complete_size(entry: dict[str, Any], folders: list[Path]) -> None:
    """Fill in the height and width that an entry of `images` lacks, from its picture."""
    name = entry.get("file_name")
    if isinstance(name, str) and (entry.get("height") is None or entry.get("width") is None):
        found = locate(name, folders)
        if found is not None:
            entry["height"], entry["width"] = picture_size(found)


def picture_of(file: CocoFile, entry: dict[str, Any], names: dict[Any, str]) -> AnnotatedPicture:
    """A picture and its usable objects."""
    objects = []
    for thing in file.objects[entry["id"]]:
        annotation = file.annotations[thing["id"]]
        outline = annotation["segmentation"]
        objects.append(
            AnnotatedObject(
                names[annotation["category_id"]],
                as_text(thing["rle"]) if isinstance(outline, dict) else outline,
                f"annotation {thing['id']}",
                thing["iscrowd"],
                thing["id"],
                annotation,
            )
        )
    path = file.files[entry["id"]]
    return AnnotatedPicture(
        path, entry["height"], entry["width"], objects, None, entry["id"], entry
    )
