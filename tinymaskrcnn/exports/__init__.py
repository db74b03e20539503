"""Predictions as other tools read them: `FORMATS` has all, by the names that `predict --format`
takes.

A new format is a file here with one function, and an entry in `FORMATS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import mark
from . import coco, geojson, imagej, label_images, labelme, measurements, yolo
from .predicted import PredictedImage, Source

__all__ = ["FORMATS", "FilePerImage", "OneFile", "PredictedImage", "Source", "chosen"]

MARK = mark("predict")


@dataclass(frozen=True)
class FilePerImage:
    """A format with one file for each image, in a folder of its own.

    Attributes:
        folder, suffix: of the files.
        content: gives a file's bytes; the path, which does not exist yet, is for names in it.
        mark: text in every file that tells that `predict` wrote it. None: the file has no place for
            it, or the tool that people correct the file with would keep it.
        needs: a package of the extra `formats`.
        crowded: a number of objects, and the suffix of files for images with more.
        beside: gives the name and the bytes of a further file in the folder, from the classes.
    """

    folder: str
    suffix: str
    content: Callable[[PredictedImage, Path], bytes]
    mark: str | None = MARK
    needs: str | None = None
    crowded: tuple[int, str] | None = None
    beside: Callable[[Sequence[str]], tuple[str, bytes]] | None = None


@dataclass(frozen=True)
class OneFile:
    """A format with one file for all images.

    Attributes:
        name: of the file.
        part: gives what is kept of each image until the end; it must be possible to pickle it.
        pieces: gives the file's bytes, from the images, the parts in the same order (None for an
            image that could not be used), and the classes.
        mark: text in the file that tells that `predict` wrote it.
    """

    name: str
    part: Callable[[PredictedImage], Any]
    pieces: Callable[[Iterable[Source], Iterable[Any], Sequence[str]], Iterable[bytes]]
    mark: str = MARK
    needs: str | None = None


FORMATS: dict[str, FilePerImage | OneFile] = {
    "coco": OneFile("predictions.json", coco.part, coco.coco_json),
    "labelme": FilePerImage("labelme", ".json", labelme.content, mark=None),
    "labels": FilePerImage("labels", ".png", label_images.content, crowded=(2**16 - 1, ".tif")),
    "labels-tiff": FilePerImage("labels", ".tif", label_images.content, needs="tifffile"),
    "yolo": FilePerImage("yolo", ".txt", yolo.content, mark=None, beside=yolo.class_names),
    "geojson": FilePerImage("geojson", ".geojson", geojson.content),
    "imagej": FilePerImage("imagej", ".zip", imagej.content, needs="roifile"),
    "csv": OneFile("measurements.csv", measurements.rows, measurements.table, measurements.HEADER),
}


def chosen(text: str) -> list[str]:
    """The formats in a list such as "coco,labelme", each once.

    Raises:
        InputError: there is no such format, or it needs a package that is not installed.
    """
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in FORMATS:
            raise InputError(f"--format {text}: {name!r} is none of {', '.join(FORMATS)}")
        package = FORMATS[name].needs
        if package and find_spec(package) is None:
            raise InputError(
                f"--format {name} needs the package {package}: pip install 'tinymaskrcnn[formats]'"
            )
    return names
