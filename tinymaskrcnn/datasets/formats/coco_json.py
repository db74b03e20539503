"""Read COCO json in order to write it anew: sizes come from the images, boxes and areas from the
masks. Ids and all other fields stay.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import InputError
from ..coco_file import CocoFile, is_id, read_json
from ..image_finder import BARE, ImageFinder
from ..issues import LEFT_OUT, REFUSED, Issue
from ..run_lengths import as_text
from ..segmentation import is_numbers
from .annotations import (
    UNREADABLE,
    AnnotatedImage,
    AnnotatedObject,
    Annotations,
    Options,
    unreadable,
)
from .orientation import Canvas, canvas, corner_of, on_stored, upright

OWN_LISTS = ("images", "annotations", "categories")


def is_coco(content: Any) -> bool:
    """Whether a json is COCO's."""
    return isinstance(content, dict) and all(isinstance(content.get(n), list) for n in OWN_LISTS)


def read(source: Path, options: Options) -> Annotations:
    """The images of a COCO json.

    Raises:
        InputError: it contradicts itself in more than sizes, boxes and areas.
    """
    content = read_json(source)
    issues: list[Issue] = []
    canvases = canvases_of(source, content, options, issues)
    stored = dict(zip(canvases, on_stored(source, list(canvases.values()), issues), strict=True))
    bad = {issue.image for issue in issues if issue.kind == UNREADABLE}
    content["images"] = [entry for entry in content["images"] if not_in(entry.get("id"), bad)]
    content["annotations"] = [a for a in content["annotations"] if not_in(a.get("image_id"), bad)]
    for entry in content["images"]:
        if is_id(entry.get("id")) and (one := canvases.get(entry["id"])):
            entry["height"], entry["width"] = one.stored if stored[entry["id"]] else one.size
    for annotation in content["annotations"]:
        for field in ("bbox", "area"):
            annotation.pop(field, None)
        if annotation.get("iscrowd") is None:
            annotation["iscrowd"] = 0
    file = CocoFile(source, options.images_dir, content=content)
    reasons = [issue for issue in file.issues if issue.level == REFUSED]
    if reasons:
        raise InputError(f"{source}: {reasons[0]} ({len(reasons)} in all; check-data lists them)")
    names = {entry["id"]: entry["name"] for entry in content["categories"]}
    images = [image_of(file, entry, names) for entry in file.images]
    images = [upright(p, canvases[p.id]) if stored[p.id] else p for p in images]
    issues += [d for d in file.issues if d.level == LEFT_OUT or d.kind == BARE]
    extra = {name: value for name, value in content.items() if name not in OWN_LISTS}
    return Annotations(images, issues, content["categories"], extra, [source])


def canvases_of(
    source: Path, content: dict[str, list[dict]], options: Options, issues: list[Issue]
) -> dict[Any, Canvas]:
    """The canvas of each image that was found, by id."""
    folders = [options.images_dir] if options.images_dir else [source.parent / "images"]
    finder = ImageFinder(folders if options.images_dir else [*folders, source.parent])
    polygons: dict[Any, list[list[float]]] = {}
    for annotation in content["annotations"]:
        parts, id_ = annotation.get("segmentation"), annotation.get("image_id")
        if is_id(id_):
            polygons.setdefault(id_, []).extend(outlines(parts))
    canvases: dict[Any, Canvas] = {}
    for entry in content["images"]:
        name, id_ = entry.get("file_name"), entry.get("id")
        file = finder.find(name) if isinstance(name, str) and is_id(id_) else None
        if file is None:
            continue
        stated = entry.get("height"), entry.get("width")
        try:
            canvases[id_] = canvas(file, None, stated, corner_of(polygons.get(id_, [])))
        except InputError as problem:
            issues.append(replace(unreadable(problem), image=id_))
    return canvases


def outlines(segmentation: Any) -> list[list[float]]:
    """The polygons of a segmentation; the corner of its size for RLE; nothing for other forms."""
    if isinstance(segmentation, dict):
        size = segmentation.get("size")
        return [size[::-1]] if isinstance(size, list) and is_numbers(size) else []
    parts = segmentation if isinstance(segmentation, list) else []
    return [part for part in parts if is_numbers(part)]


def not_in(id_: Any, ids: set) -> bool:
    """Whether an id, which may be of any type, is not one of these."""
    return not is_id(id_) or id_ not in ids


def image_of(file: CocoFile, entry: dict[str, Any], names: dict[Any, str]) -> AnnotatedImage:
    """An image and its usable objects."""
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
    return AnnotatedImage(path, entry["height"], entry["width"], objects, None, entry["id"], entry)
