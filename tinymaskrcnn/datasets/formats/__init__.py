"""Annotations of other tools: the format of a source, and its images and objects."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ...errors import InputError
from ..coco_file import parse_json
from ..images import SUFFIXES, unread
from ..issues import ODD, Issue
from . import coco_json, labelme, mask_images, via
from .annotations import UNREADABLE, AnnotatedImage, Annotations, Options
from .writer import coco_json as as_coco_json

__all__ = [
    "FORMATS",
    "UNREADABLE",
    "AnnotatedImage",
    "Annotations",
    "Options",
    "as_coco_json",
    "detect",
    "read",
]

FORMATS: dict[str, Callable[[Path, Options], Annotations]] = {
    "coco": coco_json.read,
    "via": via.read,
    "labelme": labelme.read,
    "masks": mask_images.read,
}
KNOWN = {"coco": coco_json.is_coco, "via": via.is_via, "labelme": labelme.is_labelme}


def read(source: Path, format: str | None, options: Options) -> Annotations:
    """The annotations of a file or folder, read in the given format or in the one it seems to have.

    Contents of image and mask files that are not read are added to the issues.

    Raises:
        InputError: the source does not exist, or its format is unknown.
    """
    if not source.exists():
        raise InputError(f"{source}: no such file or folder")
    if format is None:
        source, format = detect(source, options)
    elif source.is_dir() and format in ("coco", "via"):
        source = only_json(source, format)
    elif not source.is_dir() and format == "masks":
        raise InputError(f"{source}: masks are read from a folder")
    annotations = FORMATS[format](source, options)
    contents = {image.file: image.content for image in annotations.images}
    contents |= {file: None for file in annotations.read if file.suffix.lower() in SUFFIXES}
    for file, content in contents.items():
        with suppress(InputError):  # a file that cannot be decoded is reported by whoever reads it
            annotations.issues.extend(
                Issue(ODD, kind, str(file), detail) for kind, detail in unread(file, content)
            )
    return annotations


def detect(source: Path, options: Options) -> tuple[Path, str]:
    """The file or folder to read, and its format.

    Raises:
        InputError: no format fits, or several do.
    """
    if not source.is_dir():
        format = json_format(source)
        if format is None:
            raise InputError(f"{source}: neither COCO, VIA (1 or 2) nor labelme json")
        return source, format
    known: dict[Path, str] = {}
    problems: list[InputError] = []
    for file in sorted(source.glob("*.json")):
        try:
            format = json_format(file)
        except InputError as problem:
            problems.append(problem)
        else:
            known |= {file: format} if format else {}
    if "labelme" in known.values():
        return source, "labelme"
    if problems:
        raise problems[0]
    if len(known) > 1:
        names = ", ".join(file.name for file in known)
        raise InputError(f"{source}: several json files ({names}); name the one to convert")
    for file, format in known.items():
        return file, format
    if options.images_dir or mask_images.is_masks(source):
        return source, "masks"
    raise InputError(
        f"{source}: no annotations found; expected COCO, VIA or labelme json, or masks: ID/masks/ "
        "for each image, or NAME_mask.png beside NAME, or masks/ beside images/"
    )


def json_format(file: Path) -> str | None:
    """The format of a json file; None if it is of none of them."""
    content = parse_json(file)
    return next((format for format, fits in KNOWN.items() if fits(content)), None)


def only_json(folder: Path, format: str) -> Path:
    """The only json of a format in a folder. Raises InputError unless there is exactly one."""
    found = [file for file in sorted(folder.glob("*.json")) if KNOWN[format](parse_json(file))]
    if len(found) != 1:
        raise InputError(f"{folder}: {len(found)} json files of the format {format}, expected one")
    return found[0]
