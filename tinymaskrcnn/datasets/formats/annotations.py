"""What every reader of annotations makes of its source: pictures with named, outlined objects.

Not here: the readers (via.py, labelme.py, mask_pictures.py, coco_json.py), and COCO json made of
what they give (writer.py).
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
from ..defects import EXAMPLES, LEFT_OUT, Defect
from ..finding import PictureFinder
from ..images import SUFFIXES

DEFAULT_CLASS = "object"
UNREADABLE = "files that cannot be read"


@dataclass(frozen=True)
class Options:
    """What a person can say about a source.

    - `images_dir`: where the pictures are, if not where the source says.
    - `class_name`: the class of objects that come without one.
    - `class_attribute`: which attribute of a VIA region is its class.
    - `split`: make every separate piece of a mask an object.
    """

    images_dir: Path | None = None
    class_name: str | None = None
    class_attribute: str | None = None
    split: bool = False


@dataclass(frozen=True)
class AnnotatedObject:
    """One object: the name of its class and its segmentation as COCO json has it.

    - `where`: what it is called in messages. `id`, `extra`: what a COCO json said besides.
    """

    label: str
    segmentation: Any
    where: str
    iscrowd: bool = False
    id: Any = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AnnotatedPicture:
    """One picture file, its size as it is read, and its objects.

    - `content`: where there is no such file yet, what is to be written to it.
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
    """All of a source.

    - `defects`: what was not taken over and why (LEFT_OUT), and what may be meant otherwise (ODD).
    - `categories`: entries of COCO json, where their ids are fixed; otherwise the classes that
      occur, by name. `extra`: further lists of a COCO json.
    - `read`: the files that were read besides the pictures.
    """

    pictures: Sequence[AnnotatedPicture]
    defects: list[Defect]
    categories: Sequence[dict[str, Any]] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    read: Sequence[Path] = ()


def left_out(kind: str, where: str, detail: str = "") -> Defect:
    """Something that is not taken over."""
    return Defect(LEFT_OUT, kind, where, detail)


def is_file_name(name: str) -> bool:
    """Whether a file can be called so."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return "\0" not in name and Path(name).name not in ("", "..")


def check_found(source: Path, missing: Sequence[str], finder: PictureFinder) -> None:
    """Raises InputError that names the pictures which were not found, or could be another's file,
    if there are any.
    """
    ambiguous = finder.ambiguous()
    if names := missing or list(ambiguous):
        some = ", ".join(names[:EXAMPLES]) + (", ..." if len(names) > EXAMPLES else "")
        tried = " or ".join(map(str, finder.folders))
        problem = f"not in {tried}" if missing else f"of an ambiguous name ({ambiguous[names[0]]})"
        raise InputError(
            f"{source}: {len(names)} picture(s) {problem}: {some}; --images says where they are"
        )


def unreadable(problem: InputError) -> Defect:
    """A file that is left out with all that belongs to it; its name begins the problem."""
    name, _, detail = str(problem).partition(": ")
    return left_out(UNREADABLE, name, detail)


def embedded(text: Any) -> bytes | None:
    """The file that a text holds in base 64, maybe as a data URL; None where it holds none."""
    if not isinstance(text, str) or not text:
        return None
    try:
        return base64.b64decode(text.rpartition(",")[2], validate=True) or None
    except (binascii.Error, ValueError):
        return None


def pictures_in(folder: Path) -> list[Path]:
    """What is called a picture in a folder, by name."""
    inside = (file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
    return sorted(file for file in inside if not os.path.isdir(file))


def numbers(*values: Any) -> list[float]:
    """The values as floats. Raises ValueError where one is no finite number."""
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
