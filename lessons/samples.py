"""The images in a clone's data/ folder, by name, for the lessons."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tinymaskrcnn.datasets.coco import CocoDataset
from tinymaskrcnn.datasets.images import read_image
from tinymaskrcnn.errors import InputError

FOLDER = Path(__file__).resolve().parents[1] / "data"
PHOTOS = {  # sources: data/coco_demo/README.md
    "portrait": "000000000459.jpg",
    "bus": "000000000471.jpg",
    "baseball": "000000000544.jpg",
}
SETS = ("shapes", "nuclei")
# the limits of the shapes model: fewer proposals are easier to follow, and enough for small images
A_HUNDRED_PROPOSALS = {
    "rpn_pre_nms_top_n_test": 300,
    "rpn_post_nms_top_n_test": 100,
    "rpn_score_thresh": 0.0,
    "box_detections_per_img": 50,
}


def sample_set(name: str) -> CocoDataset:
    """Six images with their objects; the set is "shapes" or "nuclei".

    Raises:
        InputError: there is no such set, or this is not a clone.
    """
    if name not in SETS:
        raise InputError(f"no sample set {name!r}: expected one of {', '.join(SETS)}")
    return CocoDataset(_existing(FOLDER / name / "annotations.json"))


def sample_photo(name: str) -> np.ndarray:
    """The photo "portrait", "bus" or "baseball": float32 (3, H, W) in 0..1.

    Raises:
        InputError: there is no such photo, or this is not a clone.
    """
    if name not in PHOTOS:
        raise InputError(f"no sample photo {name!r}: expected one of {', '.join(PHOTOS)}")
    return read_image(_existing(FOLDER / "coco_demo" / PHOTOS[name]))


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise InputError(f"{path}: no such file; the samples come with a clone of the repository")
    return path
