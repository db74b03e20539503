"""Annotations of labelme: one json per image.

It reads polygons, rectangles (also oriented ones), circles and masks. Shapes with one label and one
group are one object. A shape labelled _background_ is cut out of the shapes before it, as labelme
itself paints them. A line strip counts as a polygon if it ends at its start. Other lines, and
points, have no inside and are left out, as are shapes labelled __ignore__. If the image file is
missing, the image is taken out of the json, if that holds it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ... import rle_tools
from ...errors import InputError
from ..coco_file import parse_json
from ..image_finder import ImageFinder
from ..images import opened
from ..issues import Issue, brief
from ..polygons import ellipse, rectangle
from ..run_lengths import as_text
from ..segmentation import UnusableObject, read_segmentation
from .annotations import (
    UNREADABLE,
    AnnotatedImage,
    AnnotatedObject,
    Annotations,
    Options,
    check_found,
    embedded,
    flat,
    is_file_name,
    left_out,
    numbers,
    unreadable,
)
from .orientation import Canvas, canvas, corner_of, on_stored, upright

IGNORED, HOLE = "__ignore__", "_background_"
LINES = ("line", "linestrip", "point", "points")
OUTLINES = ("polygon", "linestrip", "rotation", "oriented_rectangle", "quadrilateral")

Part = tuple[int, str, Any]  # a shape's number, its name in messages, and its segmentation


def is_labelme(content: Any) -> bool:
    """Whether a json is labelme's."""
    return (
        isinstance(content, dict)
        and isinstance(content.get("shapes"), list)
        and ("imagePath" in content or "imageData" in content)
    )


def read(source: Path, options: Options) -> Annotations:
    """The images of one labelme json, or of all in a folder.

    Raises:
        InputError: there is no labelme json, images are missing, or an image's size differs from
            its json's.
    """
    issues: list[Issue] = []
    missing: list[str] = []
    folder = options.images_dir or (source if source.is_dir() else source.parent)
    finder = ImageFinder([folder])
    found: list[tuple[Path, list[Any], Path, bytes | None]] = []
    canvases: list[Canvas] = []
    for path in sorted(source.glob("*.json")) if source.is_dir() else [source]:
        content = json_of(path, source, issues)
        if content is None:
            continue
        file, inside = find_image(path, content, finder)
        if file is None:
            missing.append(str(content.get("imagePath")))
            continue
        stated = content.get("imageHeight"), content.get("imageWidth")
        shapes = content["shapes"]
        try:
            canvases.append(canvas(file, inside, stated, corner_of(outlines(shapes))))
            found.append((path, shapes, file, inside))
        except InputError as problem:
            issues.append(unreadable(problem))
    check_found(source, missing, finder)
    if not found:
        bad = [f"{d.where}: {d.detail}" for d in issues if d.kind == UNREADABLE]
        raise InputError(bad[0] if bad else f"{source}: no labelme json in this folder")
    images = []
    stored = on_stored(source, canvases, issues)
    for (path, shapes, file, inside), one, turning in zip(found, canvases, stored, strict=True):
        size = one.stored if turning else one.size
        objects = list(read_shapes(path.name, shapes, size, issues))
        image = AnnotatedImage(file, *size, objects, inside)
        images.append(upright(image, one) if turning else image)
    return Annotations(images, issues, read=[path for path, *_ in found])


def json_of(path: Path, source: Path, issues: list[Issue]) -> dict[str, Any] | None:
    """The content of a labelme json; for other files of a folder None, and an issue.

    Raises:
        InputError: `source` itself is not labelme json.
    """
    try:
        content = parse_json(path)
    except InputError as problem:
        if path == source:
            raise
        issues.append(unreadable(problem))
        return None
    if is_labelme(content):
        return content
    if path == source:
        raise InputError(f"{source}: not labelme json: expected shapes and imagePath")
    issues.append(left_out("json files of other kinds", path.name))
    return None


def find_image(
    path: Path, content: Mapping[str, Any], finder: ImageFinder
) -> tuple[Path | None, bytes | None]:
    """The file of a json's image, and the bytes to write to it if it does not exist."""
    name = content.get("imagePath")
    name = name if isinstance(name, str) and name else f"{path.stem}.png"
    file = finder.find(name)
    if file is not None:
        return file, None
    inside = embedded(content.get("imageData"))
    name = name.replace("\\", "/")
    return (None, None) if inside is None or not is_file_name(name) else (Path(name), inside)


def outlines(shapes: list[Any]) -> Iterator[list[float]]:
    """The polygons of all shapes, and two corners of each mask; skips shapes of the wrong form."""
    for shape in shapes:
        try:
            if shape.get("shape_type") == "mask":
                yield flat(numbers(*point) for point in shape["points"])
            else:
                yield from outline(shape, (0, 0))  # type: ignore[misc]
        except (LookupError, TypeError, ValueError, AttributeError):
            continue


def read_shapes(
    name: str, shapes: list[Any], size: tuple[int, int], issues: list[Issue]
) -> Iterator[AnnotatedObject]:
    """The objects of one image; the shapes that are no objects are added to `issues`."""
    groups: dict[Any, tuple[str, list[Part]]] = {}
    holes: list[Part] = []
    for number, shape in enumerate(shapes):
        where = f"{name} shape {number}"
        try:
            label, group = str(shape["label"]), shape.get("group_id")
            kind = no_object(label, shape)
            if kind:
                issues.append(left_out(kind, where))
                continue
            part = number, where, outline(shape, size)
        except (LookupError, TypeError, ValueError, AttributeError, OSError) as problem:
            detail = (
                f"{problem.args[0]!r} is missing" if type(problem) is KeyError else str(problem)
            )
            issues.append(left_out("shapes of the wrong form", where, detail))
        else:
            key = number if group is None else (label, str(group))
            owner = holes if label == HOLE else groups.setdefault(key, (label, []))[1]
            owner.append(part)
    cutting: set[int] = set()
    for label, parts in groups.values():
        where = parts[0][1]
        try:
            segmentation = with_holes(parts, holes, size, cutting) or union(parts, size)
        except UnusableObject as problem:
            issues.append(left_out(str(problem), where))
        else:
            yield AnnotatedObject(label, segmentation, where)
    kind = f"shapes labelled {HOLE} that lie on no shape before them"
    issues += [left_out(kind, where) for number, where, _ in holes if number not in cutting]


def no_object(label: str, shape: Mapping[str, Any]) -> str | None:
    """Why a shape is no object, as a kind of issue; None if it is one."""
    kind, points = shape.get("shape_type") or "polygon", shape["points"]
    if label == IGNORED:
        return f"shapes labelled {label}"
    if kind == "linestrip" and len(points) > 3 and points[0] == points[-1]:
        return None
    if kind in LINES:
        return f"shapes of the type {kind}, which have no inside"
    if kind not in (*OUTLINES, "rectangle", "circle", "mask"):
        return f"shapes of the type {brief(kind)}"
    return None


def outline(shape: Mapping[str, Any], size: tuple[int, int]) -> list[list[float]] | dict:
    """A shape as COCO polygons, or as RLE of an image of this height and width."""
    kind = shape.get("shape_type") or "polygon"
    points = [tuple(numbers(*point)) for point in shape["points"]]
    if any(len(point) != 2 for point in points):
        raise ValueError("points are not pairs")
    xs, ys = zip(*points, strict=True)
    if kind == "mask":
        return placed_mask(shape["mask"], min(xs), min(ys), size)
    if kind == "rectangle" and not (len(set(xs)) > 2 and len(points) == 4):  # not turned
        return [flat(rectangle(min(xs), min(ys), max(xs), max(ys)))]
    if kind == "circle":
        (x, y), (rim_x, rim_y) = points
        radius = float(np.hypot(rim_x - x, rim_y - y))
        return [flat(ellipse(x, y, radius, radius))]
    return [[number for point in points for number in point]]


def placed_mask(text: Any, left: float, top: float, size: tuple[int, int]) -> dict:
    """The mask image in a base 64 text, with its first pixel at (left, top), as RLE."""
    content = embedded(text)
    if content is None:
        raise ValueError("its mask is not in base 64")
    with opened("its mask", content) as image:
        if image.width * image.height > size[0] * size[1]:
            raise InputError("its mask is larger than the image")
        part = np.asarray(image.convert("L")) > 0
    whole = np.zeros(size, np.uint8, order="F")
    row, column = round(top), round(left)
    first_row, first_column = max(row, 0), max(column, 0)
    part = part[first_row - row :, first_column - column :]
    part = part[: max(size[0] - first_row, 0), : max(size[1] - first_column, 0)]
    whole[first_row : first_row + len(part), first_column : first_column + part.shape[1]] = part
    return as_text(rle_tools.encode(whole))


def union(parts: list[Part], size: tuple[int, int]) -> Any:
    """The shapes of one object together: polygons if all are polygons, otherwise RLE."""
    if all(isinstance(outline, list) for *_, outline in parts):
        return [polygon for *_, outline in parts for polygon in outline]
    if len(parts) == 1:
        return parts[0][2]
    return as_text(rle_tools.merge([read_segmentation(*part[1:], *size) for part in parts]))


def with_holes(
    parts: list[Part], holes: list[Part], size: tuple[int, int], cutting: set[int]
) -> dict | None:
    """The shapes of one object as RLE; None if no hole touches them.

    Shapes and holes are painted in their order: each hole removes what has been painted there by
    then. The numbers of the holes that do so are added to `cutting`.
    """
    later = [hole for hole in holes if hole[0] > parts[0][0]]
    painted: dict | None = None
    cut = False
    for part in sorted([*parts, *later]) if later else []:
        rle = read_segmentation(*part[1:], *size)
        if part not in later:
            painted = rle if painted is None else rle_tools.merge([painted, rle])
        elif rle_tools.area(rle_tools.merge([painted, rle], intersect=True)):
            rest = rle_tools.decode(painted) & (1 - rle_tools.decode(rle))
            painted = rle_tools.encode(np.asfortranarray(rest))
            cutting.add(part[0])
            cut = True
    return as_text(painted) if cut and painted is not None else None
