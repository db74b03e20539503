"""Write what a reader gives as COCO json."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ... import rle_tools
from ...errors import InputError
from ...files import identity
from ..segmentation import UnusableObject, read_segmentation
from .annotations import AnnotatedImage, AnnotatedObject, Annotations, left_out


def coco_json(annotations: Annotations, folder: Path) -> dict[str, Any]:
    """The content of a COCO json that will lie in `folder`; file names are relative to it.

    Boxes and areas come from the masks. Objects without a mask are added to `annotations.issues`.

    Raises:
        InputError: there are no images or no classes, or a reader of the json would take another
            file in `images/` for one of the images.
    """
    if not annotations.images:
        raise InputError("no images to convert")
    categories = annotations.categories or named(annotations.images)
    ids = {entry["name"]: entry["id"] for entry in categories}
    images: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    for number, image in enumerate(annotations.images, start=1):
        image_id = number if image.id is None else image.id
        name = relative_name(image.file, folder)
        sizes = {"height": image.height, "width": image.width}
        images.append({**image.extra, "id": image_id, "file_name": name, **sizes})
        for thing in image.objects:
            try:
                entry = coco_annotation(thing, image.height, image.width)
            except UnusableObject as problem:
                annotations.issues.append(left_out(str(problem), thing.where))
                continue
            id_ = len(objects) + 1 if thing.id is None else thing.id
            own = {"id": id_, "image_id": image_id, "category_id": ids[thing.label]}
            objects.append({**thing.extra, **own, **entry})
    return {
        **annotations.extra,
        "images": images,
        "annotations": objects,
        "categories": list(categories),
    }


def named(images: Sequence[AnnotatedImage]) -> list[dict[str, Any]]:
    """The categories of all objects, sorted by name, with ids from 1."""
    names = sorted({thing.label for image in images for thing in image.objects})
    if not names:
        raise InputError("no objects to convert")
    return [{"id": id_, "name": name} for id_, name in enumerate(names, start=1)]


def coco_annotation(thing: AnnotatedObject, height: int, width: int) -> dict[str, Any]:
    """The fields of an annotation that follow from its segmentation."""
    try:
        rle = read_segmentation(thing.where, thing.segmentation, height, width)
    except InputError as problem:
        raise UnusableObject("a segmentation of the wrong form") from problem
    return {
        "segmentation": thing.segmentation,
        "bbox": rle_tools.toBbox(rle).tolist(),
        "area": int(rle_tools.area(rle)),
        "iscrowd": int(thing.iscrowd),
    }


def relative_name(file: Path, folder: Path) -> str:
    """The image's name relative to the json's folder."""
    try:
        name = Path(os.path.relpath(os.path.realpath(file), os.path.realpath(folder))).as_posix()
    except ValueError:  # on another drive
        return Path(os.path.realpath(file)).as_posix()
    other = folder / "images" / name  # where a reader of the json looks first
    if os.path.isfile(other) and identity(other) != identity(file):
        raise InputError(f"{file}: readers would take {other} for it; choose another --out")
    return name
