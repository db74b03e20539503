"""Annotations of labelme: one json a picture.

Polygons, rectangles, circles and masks. Shapes of one label and one group are one object. A line
strip is taken where it ends at its beginning; other lines, and points, have no inside and are left
out, as is what is labelled __ignore__ or _background_. A picture that is not there is taken out of
the json, where that holds it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as rle_tools

from ...errors import InputError
from ..coco_file import parse_json
from ..defects import Defect, brief
from ..images import opened, picture_size
from ..polygons import ellipse, rectangle
from ..segmentation import UnusableObject, read_segmentation
from .annotations import (
    AnnotatedObject,
    AnnotatedPicture,
    Annotations,
    Options,
    as_text,
    embedded,
    flat,
    is_file_name,
    left_out,
    locate,
    numbers,
    refuse_missing,
)

NO_OBJECTS = ("__ignore__", "_background_")
LINES = ("line", "linestrip", "point", "points")


def is_labelme(content: Any) -> bool:
    """Whether a json is labelme's."""
    return (
        isinstance(content, dict)
        and isinstance(content.get("shapes"), list)
        and ("imagePath" in content or "imageData" in content)
    )


def read(source: Path, options: Options) -> Annotations:
    """The pictures of one labelme json, or of all in a folder.

    Raises InputError where there is none, for missing pictures, and for pictures of another size
    than their json says.
    """
    pictures: list[AnnotatedPicture] = []
    defects: list[Defect] = []
    missing: list[str] = []
    for path in sorted(source.glob("*.json")) if source.is_dir() else [source]:
        content = parse_json(path)
        if not is_labelme(content):
            if path == source:
                raise InputError(f"{source}: not labelme json: expected shapes and imagePath")
            defects.append(left_out("json files of other kinds", path.name))
            continue
        file, content_inside = find_picture(path, content, options)
        if file is None:
            missing.append(str(content.get("imagePath")))
            continue
        height, width = picture_size(file, content_inside)
        check_size(path, content, (height, width))
        objects = list(read_shapes(path.name, content["shapes"], (height, width), defects))
        pictures.append(AnnotatedPicture(file, height, width, objects, content_inside))
    folder = options.images_dir or (source if source.is_dir() else source.parent)
    refuse_missing(source, missing, [folder])
    if not pictures:
        raise InputError(f"{source}: no labelme json in this folder")
    return Annotations(pictures, defects)


def find_picture(
    path: Path, content: Mapping[str, Any], options: Options
) -> tuple[Path | None, bytes | None]:
    """The file of a json's picture, and what is to be written to it if it is not there."""
    name = content.get("imagePath")
    name = name if isinstance(name, str) and name else f"{path.stem}.png"
    file = locate(name, [options.images_dir or path.parent])
    if file is not None:
        return file, None
    inside = embedded(content.get("imageData"))
    name = name.replace("\\", "/")
    return (None, None) if inside is None or not is_file_name(name) else (Path(name), inside)


def check_size(path: Path, content: Mapping[str, Any], size: tuple[int, int]) -> None:
    """Raises InputError where the json is about a picture of another size (height, width)."""
    stated = (content.get("imageHeight"), content.get("imageWidth"))
    if None not in stated and stated != size:
        raise InputError(
            f"{path}: its picture is {size[1]} x {size[0]}, but imageWidth and imageHeight are "
            f"{brief(stated[1])} and {brief(stated[0])}"
        )


def read_shapes(
    name: str, shapes: list[Any], size: tuple[int, int], defects: list[Defect]
) -> Iterator[AnnotatedObject]:
    """The objects of one picture; shapes that are none are added to `defects`."""
    groups: dict[Any, list[tuple[str, str, Any]]] = {}
    for number, shape in enumerate(shapes):
        where = f"{name} shape {number}"
        try:
            label, group = str(shape["label"]), shape.get("group_id")
            kind = no_object(label, shape)
            if kind:
                defects.append(left_out(kind, where))
                continue
            parts = outline(shape, size)
        except (LookupError, TypeError, ValueError, AttributeError, OSError) as problem:
            detail = (
                f"{problem.args[0]!r} is missing" if type(problem) is KeyError else str(problem)
            )
            defects.append(left_out("shapes of the wrong form", where, detail))
        else:
            key = number if group is None else (label, str(group))
            groups.setdefault(key, []).append((label, where, parts))
    for members in groups.values():
        label, where, _ = members[0]
        try:
            segmentation = union(where, [parts for *_, parts in members], size)
        except UnusableObject as problem:
            defects.append(left_out(str(problem), where))
        else:
            yield AnnotatedObject(label, segmentation, where)


def no_object(label: str, shape: Mapping[str, Any]) -> str | None:
    """The kind of a shape that is no object, None of one that is."""
    kind, points = shape.get("shape_type") or "polygon", shape["points"]
    if label in NO_OBJECTS:
        return f"shapes labelled {label}"
    if kind == "linestrip" and len(points) > 3 and points[0] == points[-1]:
        return None
    if kind in LINES:
        return f"shapes of the type {kind}, which have no inside"
    if kind not in ("polygon", "linestrip", "rotation", "rectangle", "circle", "mask"):
        return f"shapes of the type {brief(kind)}"
    return None


def outline(shape: Mapping[str, Any], size: tuple[int, int]) -> list[list[float]] | dict:
    """A shape as COCO polygons, or as RLE of a picture of this height and width."""
    kind = shape.get("shape_type") or "polygon"
    points = [tuple(numbers(*point)) for point in shape["points"]]
    if any(len(point) != 2 for point in points):
        raise ValueError("points are not pairs")
    xs, ys = zip(*points, strict=True)
    if kind == "mask":
        return placed_mask(shape["mask"], min(xs), min(ys), size)
    if kind == "rectangle":  # two opposite corners, in some versions all four
        return [flat(rectangle(min(xs), min(ys), max(xs), max(ys)))]
    if kind == "circle":
        (x, y), (rim_x, rim_y) = points
        radius = float(np.hypot(rim_x - x, rim_y - y))
        return [flat(ellipse(x, y, radius, radius))]
    return [[number for point in points for number in point]]


def placed_mask(text: Any, left: float, top: float, size: tuple[int, int]) -> dict:
    """A picture of a mask in base 64, whose first pixel is at (left, top), as RLE."""
    content = embedded(text)
    if content is None:
        raise ValueError("its mask is not in base 64")
    with opened("its mask", content) as image:
        if image.width * image.height > size[0] * size[1]:
            raise InputError("its mask is larger than the picture")
        part = np.asarray(image.convert("L")) > 0
    whole = np.zeros(size, np.uint8, order="F")
    row, column = round(top), round(left)
    first_row, first_column = max(row, 0), max(column, 0)
    part = part[first_row - row :, first_column - column :]
    part = part[: max(size[0] - first_row, 0), : max(size[1] - first_column, 0)]
    whole[first_row : first_row + len(part), first_column : first_column + part.shape[1]] = part
    return as_text(rle_tools.encode(whole))


def union(where: str, parts: list[Any], size: tuple[int, int]) -> Any:
    """Shapes of one object together: polygons where all are, RLE otherwise."""
    if all(isinstance(part, list) for part in parts):
        return [polygon for part in parts for polygon in part]
    if len(parts) == 1:
        return parts[0]
    return as_text(rle_tools.merge([read_segmentation(where, part, *size) for part in parts]))
