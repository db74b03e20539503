"""Toy shapes: generated images on which detection and segmentation are a real task.

0 to 6 shapes of random size, colour, shading and rotation lie on a textured, cluttered background.
Later shapes cover earlier ones, the border cuts some off, and noise lies over everything. An image
depends on (split, seed, index) alone, so any part of the set can be made in any order. Nothing is
stored: an image is drawn each time it is asked for, in two to three milliseconds.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from ..detection.cropped_masks import CroppedMasks
from ..errors import InputError
from ..models.inputs import Target
from .backgrounds import background
from .contours import CONTOURS, coverage
from .targets import select_objects, target_from_masks

REFERENCE_SIZE = 128  # lengths below are in pixels of an image of this size
RADII = (9.0, 32.0)
HIDDEN_PIXELS = 30
NOISE = (10.0, 16.0)
SPLITS = ("train", "val")
HELD_BACK = 200  # images of the split "val" on which the commands evaluate


class ToyShapes:
    """A data set of `count` generated images, `size` x `size`.

    `dataset[i]` is (image float32 (3, size, size) in 0..1, target); `targets.py` describes the
    target. Radii are uniform in 9..32 pixels at size 128 and grow with the size. So does the rule
    for hidden objects: one with 30 visible pixels or fewer (at 128) is not in the target, which may
    therefore hold fewer than `min_objects`.

    Args:
        classes: label k is `classes[k - 1]`; any names of `contours.CONTOURS`.
        split: "train" and "val" draw from separate random streams, so the two never share an image,
            whatever their seeds.

    Raises:
        InputError: the settings cannot be met.
    """

    def __init__(
        self,
        count: int,
        size: int = 128,
        seed: int = 0,
        classes: Sequence[str] = ("square", "circle", "triangle"),
        min_objects: int = 0,
        max_objects: int = 6,
        split: str = "train",
    ):
        self.count, self.size, self.seed, self.split = count, size, seed, split
        self.classes = list(classes)
        self.min_objects, self.max_objects = min_objects, max_objects
        check_settings(self)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[np.ndarray, Target]:
        index = range(self.count)[index]  # allows negative indices; IndexError past the end
        rng = np.random.default_rng([SPLITS.index(self.split), self.seed, index])
        image = background(self.size, rng)
        owner = np.zeros((self.size, self.size), np.uint8)  # each pixel's object, 0 for none
        count = int(rng.integers(self.min_objects, self.max_objects + 1))
        labels = rng.integers(1, len(self.classes) + 1, count)
        for number, label in enumerate(labels, start=1):
            paint_object(image, owner, number, self.classes[label - 1], rng)
        add_noise(image, rng)
        return image, self.visible_objects(owner, labels, index)

    def visible_objects(self, owner: np.ndarray, labels: np.ndarray, index: int) -> Target:
        """The target: one mask per object that still shows enough pixels."""
        numbers = np.arange(1, len(labels) + 1, dtype=np.uint8)
        masks = CroppedMasks.of((owner == numbers[:, None, None]).view(np.uint8))
        shown = [k for k, crop in enumerate(masks.crops) if crop.size]
        target = target_from_masks(masks[shown], labels[shown], image_id=index)
        hidden = HIDDEN_PIXELS * (self.size / REFERENCE_SIZE) ** 2
        return select_objects(target, target["area"] > hidden)

    def describe(self, index: int) -> str:
        """Where image `index` comes from, for messages."""
        return f"shapes {self.split} image {index} (seed {self.seed}, size {self.size})"


def check_settings(dataset: ToyShapes) -> None:
    """Refuse settings that no image can meet."""
    unknown = [name for name in dataset.classes if name not in CONTOURS]
    if unknown or not dataset.classes or len(set(dataset.classes)) < len(dataset.classes):
        raise InputError(
            f"shape classes {dataset.classes}: expected different names out of {list(CONTOURS)}"
        )
    if not 0 <= dataset.min_objects <= dataset.max_objects <= 255:
        raise InputError(
            f"shapes per image {dataset.min_objects}..{dataset.max_objects}: expected a range "
            "within 0..255"
        )
    if dataset.split not in SPLITS:
        raise InputError(f"split {dataset.split!r}: expected one of {SPLITS}")
    for name, value, least in (("count", dataset.count, 0), ("size", dataset.size, 32)):
        if value < least:
            raise InputError(f"shapes {name} {value}: expected at least {least}")
    if not 0 <= dataset.seed < 2**32:
        raise InputError(f"seed {dataset.seed}: expected 0..{2**32 - 1}")


def paint_object(
    image: np.ndarray, owner: np.ndarray, number: int, shape: str, rng: np.random.Generator
) -> None:
    """Draw one shape into `image` (3, size, size) and its pixels into `owner` (size, size)."""
    size = owner.shape[0]
    radius = rng.uniform(*RADII) * size / REFERENCE_SIZE
    x, y = rng.uniform(0.7 * radius, size - 0.7 * radius, 2).tolist()
    patch, left, top = coverage(shape, radius, rng.uniform(0, 2 * math.pi), (x, y))
    rows = slice(max(top, 0), min(top + len(patch), size))
    columns = slice(max(left, 0), min(left + len(patch), size))
    patch = patch[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    under = image[:, rows, columns]
    under += patch * (paint(patch.shape, rng) - under)
    owner[rows, columns][patch >= 0.5] = number


def paint(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A colour lit from one side, (3, h, w)."""
    colour = rng.uniform(0, 255, (3, 1, 1)).astype(np.float32)
    slopes = rng.uniform(-50, 50, 2) / shape
    down, across = (
        slope * np.arange(-n / 2, n / 2, dtype=np.float32)
        for slope, n in zip(slopes.tolist(), shape, strict=True)
    )
    return colour + (down[:, None] + across)


def add_noise(image: np.ndarray, rng: np.random.Generator) -> None:
    """Add Gaussian noise to `image` in 0..255 and scale it to 0..1, in place.

    The noise is a window of one long row of normals: drawing new ones would take a quarter of the
    time of an image.
    """
    row = normals(2 * image.size)
    start = int(rng.integers(image.size))
    noise = row[start : start + image.size].reshape(image.shape)
    image += noise * np.float32(rng.uniform(*NOISE))
    image *= np.float32(1 / 255)
    np.clip(image, 0, 1, out=image)


@lru_cache(maxsize=2)
def normals(count: int) -> np.ndarray:
    """Standard normals (count,), always the same."""
    return np.random.default_rng(0).standard_normal(count, np.float32)
