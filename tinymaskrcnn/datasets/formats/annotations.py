"""The result of every reader of annotations: images with named, outlined objects.

Not here: the readers (via.py, labelme.py, mask_images.py, coco_json.py), and writing the result
as COCO json (writer.py).
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import InputError
from ..image_finder import ImageFinder
from ..images import SUFFIXES
from ..issues import EXAMPLES, LEFT_OUT, Issue

DEFAULT_CLASS = "object"
UNREADABLE = "files that cannot be read"


@dataclass(frozen=True)
class Options:
    """What the user can specify about a source.

    Attributes:
        images_dir: the folder of the images, if it is not where the source says.
        class_name: the class of objects that come without one.
        class_attribute: the attribute of a VIA region that holds its class.
        split: make each separate piece of a mask an object of its own.
    """

    images_dir: Path | None = None
    class_name: str | None = None
    class_attribute: str | None = None
    split: bool = False


@dataclass(frozen=True)
class AnnotatedObject:
    """One object: its class name, and its segmentation as in COCO json.

    Attributes:
        where: its name in messages.
        id, extra: the other fields of a COCO json's entry.
    """

    label: str
    segmentation: Any
    where: str
    iscrowd: bool = False
    id: Any = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AnnotatedImage:
    """One image file, its size as it is read, and its objects.

    Attributes:
        content: the bytes to write to the file, if it does not exist yet.
    """

    file: Path
    height: int
    width: int
    objects: Sequence[AnnotatedObject]
    content: bytes | None = None
    id: Any = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Annotations:
    """Everything in a source.

    Attributes:
        issues: what was left out and why (LEFT_OUT), and what may be meant differently (ODD).
        categories: the entries of COCO json, if their ids are fixed; None takes the classes that
            occur, sorted by name.
        extra: further lists of a COCO json.
        read: the files that were read besides the images.
    """

    images: Sequence[AnnotatedImage]
    issues: list[Issue]
    categories: Sequence[dict[str, Any]] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    read: Sequence[Path] = ()


def left_out(kind: str, where: str, detail: str = "") -> Issue:
    """An issue for something that is left out."""
    return Issue(LEFT_OUT, kind, where, detail)


def is_file_name(name: str) -> bool:
    """Whether a file can have this name."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return "\0" not in name and Path(name).name not in ("", "..")


def check_found(source: Path, missing: Sequence[str], finder: ImageFinder) -> None:
    """Raise InputError if images were not found, or may be another image's file; it names them."""
    ambiguous = finder.ambiguous()
    if names := missing or list(ambiguous):
        some = ", ".join(names[:EXAMPLES]) + (", ..." if len(names) > EXAMPLES else "")
        tried = " or ".join(map(str, finder.folders))
        problem = f"not in {tried}" if missing else f"of an ambiguous name ({ambiguous[names[0]]})"
        raise InputError(
            f"{source}: {len(names)} image(s) {problem}: {some}; --images says where they are"
        )


def unreadable(problem: InputError) -> Issue:
    """A file that is left out with all that belongs to it; `problem` starts with its name."""
    name, _, detail = str(problem).partition(": ")
    return left_out(UNREADABLE, name, detail)


def embedded(text: Any) -> bytes | None:
    """The bytes that a base 64 text or data URL holds; None if it holds none."""
    if not isinstance(text, str) or not text:
        return None
    try:
        return base64.b64decode(text.rpartition(",")[2], validate=True) or None
    except (binascii.Error, ValueError):
        return None


def images_in(folder: Path) -> list[Path]:
    """The files in a folder with the suffix of an image, sorted by name."""
    inside = (file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
    return sorted(file for file in inside if not os.path.isdir(file))


def numbers(*values: Any) -> list[float]:
    """The values as floats. Raises ValueError for anything but finite numbers."""
    result = []
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e30:
            raise ValueError(f"{value!r} is not a number")
        if value != value:
            raise ValueError("NaN is not a number")
        result.append(float(value))
    return result


def flat(points: Any) -> list[float]:
    """Corners (n, 2) as x, y, x, y, ..., to a hundredth of a pixel."""
    return [round(float(number), 2) for point in points for number in point]
