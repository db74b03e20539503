"""The pictures that a clone of the repository has in data/, by name: for lessons."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tinymaskrcnn.datasets.coco import CocoDataset
from tinymaskrcnn.datasets.images import read_image
from tinymaskrcnn.errors import InputError

FOLDER = Path(__file__).resolve().parents[1] / "data"
PHOTOS = {  # data/coco_demo/README.md names their sources
    "portrait": "000000000459.jpg",
    "bus": "000000000471.jpg",
    "baseball": "000000000544.jpg",
}
SETS = ("shapes", "nuclei")


def sample_set(name: str) -> CocoDataset:
    """ "shapes" or "nuclei": six pictures with their objects.

    Raises:
        InputError: no such set, or this is no clone.
    """
    if name not in SETS:
        raise InputError(f"no sample set {name!r}: expected one of {', '.join(SETS)}")
    return CocoDataset(_existing(FOLDER / name / "annotations.json"))


def sample_photo(name: str) -> np.ndarray:
    """ "portrait", "bus" or "baseball": float32 (3, H, W) in 0..1.

    Raises:
        InputError: no such photo, or this is no clone.
    """
    if name not in PHOTOS:
        raise InputError(f"no sample photo {name!r}: expected one of {', '.join(PHOTOS)}")
    return read_image(_existing(FOLDER / "coco_demo" / PHOTOS[name]))


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise InputError(f"{path}: not there; the samples come with a clone of the repository")
    return path
