"""Annotations of the VGG Image Annotator, versions 1 and 2: a project, or exported regions.

It reads polygons, rectangles, circles and ellipses. A polyline counts as a polygon if it ends at
its start; open ones, and points, have no inside and are left out.

Not here: VIA 3, which exports COCO json.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...errors import InputError
from ..coco_file import parse_json
from ..image_finder import ImageFinder
from ..issues import Issue, brief
from ..polygons import ellipse, rectangle
from .annotations import (
    DEFAULT_CLASS,
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
from .orientation import Canvas, canvas, corner_of, on_upright

CLASS_ATTRIBUTES = ("class", "label", "name", "category", "type", "object")


def is_via(content: Any) -> bool:
    """Whether a json is VIA's. It may be of version 3: then `read` says what to do with it."""
    if is_via3(content):
        return True
    try:
        return bool(metadata(content))
    except InputError:
        return False


def is_via3(content: Any) -> bool:
    """Whether a json is a project of VIA 3."""
    return isinstance(content, dict) and {"project", "metadata", "file"} <= set(content)


def metadata(content: Any) -> dict[str, dict]:
    """The entries of the images, by VIA's own key.

    Raises:
        InputError: the json is not VIA's.
    """
    project = isinstance(content, dict) and "_via_img_metadata" in content
    entries = content["_via_img_metadata"] if project else content
    if not isinstance(entries, dict) or not all(
        isinstance(entry, dict)
        and isinstance(entry.get("filename"), str)
        and isinstance(entry.get("regions"), dict | list)
        for entry in entries.values()
    ):
        raise InputError("not VIA json: expected images with filename and regions")
    return entries


def read(source: Path, options: Options) -> Annotations:
    """The images of a VIA json; they lie beside it, or in `options.images_dir`.

    Raises:
        InputError: another kind of json, missing images, or several attributes that may be the
            regions' class.
    """
    content = parse_json(source)
    if is_via3(content):
        raise InputError(f"{source}: a project of VIA 3; export it as COCO json")
    try:
        entries = metadata(content)
    except InputError as problem:
        raise InputError(f"{source}: {problem}") from None
    attribute = class_attribute(source, entries.values(), options)
    finder = ImageFinder(
        [options.images_dir] if options.images_dir else [source.parent / "images", source.parent]
    )
    images: list[AnnotatedImage] = []
    canvases: list[Canvas] = []
    issues: list[Issue] = []
    missing: list[str] = []
    for entry in entries.values():
        name = entry["filename"]
        file, bytes_inside = finder.find(name), None
        if file is None:
            bytes_inside = embedded(entry.get("base64_img_data"))
            file = Path(name)
            if bytes_inside is None or not is_file_name(name):
                missing.append(name)
                continue
        objects = list(read_regions(entry, attribute, options, issues))
        corner = corner_of(part for thing in objects for part in thing.segmentation)
        try:
            canvases.append(canvas(file, bytes_inside, (None, None), corner))
        except InputError as problem:
            issues.append(unreadable(problem))
            continue
        images.append(AnnotatedImage(file, *canvases[-1].size, objects, bytes_inside))
    check_found(source, missing, finder)
    return Annotations(on_upright(source, images, canvases, issues), issues, read=[source])


def regions_of(entry: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The regions of an image with their names: a dict in version 1, a list in version 2."""
    regions = entry["regions"]
    numbered = regions.items() if isinstance(regions, dict) else enumerate(regions)
    return [(f"{entry['filename']} region {number}", region) for number, region in numbered]


def class_attribute(source: Path, entries: Any, options: Options) -> str | None:
    """The attribute that holds the class; None if the regions have no attributes.

    Raises:
        InputError: there are several, or the wanted one is missing.
    """
    used: Counter[str] = Counter()
    for entry in entries:
        for _, region in regions_of(entry):
            attributes = region.get("region_attributes") if isinstance(region, dict) else None
            if isinstance(attributes, dict):
                used.update(name for name, value in attributes.items() if value not in ("", {}))
    wanted = options.class_attribute
    if wanted is not None:
        if wanted not in used:
            raise InputError(
                f"{source}: no region has the attribute {wanted!r}; they have {list(used)}"
            )
        return wanted
    if len(used) <= 1:
        return next(iter(used), None)
    likely = [name for name in used if name.lower() in CLASS_ATTRIBUTES]
    if len(likely) == 1:
        return likely[0]
    raise InputError(
        f"{source}: regions have the attributes {list(used)}; say with --class-attribute which one "
        "is the class"
    )


def read_regions(
    entry: Mapping[str, Any], attribute: str | None, options: Options, issues: list[Issue]
) -> Iterator[AnnotatedObject]:
    """The objects of one image; regions that are no objects are added to `issues`."""
    for where, region in regions_of(entry):
        try:
            name = class_of(region, attribute, options)
            segmentation = outline(region["shape_attributes"])
        except LookupError as problem:
            detail = f"{problem.args[0]!r} is missing" if type(problem) is KeyError else ""
            issues.append(left_out("regions that lack a field", where, detail))
        except (TypeError, ValueError, AttributeError) as problem:
            issues.append(left_out("regions of the wrong form", where, str(problem)))
        except NoObject as problem:
            issues.append(left_out(str(problem), where))
        else:
            yield AnnotatedObject(name, segmentation, where)


class NoObject(Exception):
    """A region that is no object; the message is the kind of issue."""


def class_of(region: Mapping[str, Any], attribute: str | None, options: Options) -> str:
    """The name of a region's class."""
    fallback = options.class_name
    if attribute is None:
        return fallback or DEFAULT_CLASS
    value = (region.get("region_attributes") or {}).get(attribute, "")
    if isinstance(value, dict):  # a checkbox: {"name": true, ...}
        chosen = [name for name, checked in value.items() if checked]
        if len(chosen) > 1:
            raise NoObject(f"regions with several values for {attribute}")
        value = chosen[0] if chosen else ""
    name = str(value).strip()
    if not name and not fallback:
        raise NoObject(f"regions without {attribute} (--class gives them one)")
    return name or str(fallback)


def outline(shape: Mapping[str, Any]) -> list[list[float]]:
    """A region's shape as COCO polygons."""
    kind = shape["name"]
    if kind in ("polygon", "polyline"):
        xs, ys = numbers(*shape["all_points_x"]), numbers(*shape["all_points_y"])
        points = list(zip(xs, ys, strict=True))
        if kind == "polyline" and points[:1] != points[-1:]:
            raise NoObject("open polylines, which have no inside")
        closed = points[:-1] if len(points) > 3 and points[0] == points[-1] else points
        return [[number for point in closed for number in point]]
    if kind == "rect":
        x, y, width, height = numbers(*(shape[f] for f in ("x", "y", "width", "height")))
        return [flat(rectangle(x, y, x + width, y + height))]
    if kind == "circle":
        x, y, radius = numbers(*(shape[f] for f in ("cx", "cy", "r")))
        return [flat(ellipse(x, y, radius, radius))]
    if kind == "ellipse":
        x, y, rx, ry = numbers(*(shape[f] for f in ("cx", "cy", "rx", "ry")))
        (angle,) = numbers(shape.get("theta", 0.0))
        return [flat(ellipse(x, y, rx, ry, angle))]
    raise NoObject(f"regions of the shape {brief(kind)}")
