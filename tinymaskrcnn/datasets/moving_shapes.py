"""A clip of toy shapes that move, whose truth is known: they come in, sway, turn, cover one another
and go out. A frame depends on the clip's settings and its own number alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..models.inputs import Target
from .backgrounds import background
from .contours import coverage
from .shapes import (
    HIDDEN_PIXELS,
    REFERENCE_SIZE,
    SPLITS,
    ToyShapes,
    add_noise,
    paint,
)
from .targets import target_from_masks

RADII = (9.0, 22.0)  # in an image of 128 x 128
BESIDE = 1.2  # radii from an image's side: a shape there does not reach the image


@dataclass(frozen=True)
class Sprite:
    """A shape and its way: from `start` (x, y) to `end` between two times, and to the side by
    `sway` and back. Lengths are in pixels, times in frames.
    """

    label: int
    radius: float
    start: np.ndarray
    end: np.ndarray
    times: tuple[float, float]
    sway: np.ndarray
    angle: float
    spin: float
    seed: int  # of its colours

    def at(self, frame: int) -> tuple[np.ndarray, float] | None:
        """Its place and angle in a frame; None before and after its times."""
        first, last = self.times
        share = (frame - first) / (last - first)
        if not 0 <= share <= 1:
            return None
        way = self.start + share * (self.end - self.start)
        return way + self.sway * math.sin(2 * math.pi * share), self.angle + self.spin * frame

    def draw(
        self,
        canvas: np.ndarray,
        owner: np.ndarray,
        number: int,
        frame: int,
        classes: Sequence[str],
        margin: int,
    ) -> None:
        """Draw it on a canvas (3, h, w) that is wider than the image by a margin, and its number
        into `owner` (h, w)."""
        if (place := self.at(frame)) is None:
            return
        (x, y), angle = place
        centre = (x + margin, y + margin)
        patch, left, top = coverage(classes[self.label - 1], self.radius, angle, centre)
        here = slice(top, top + len(patch)), slice(left, left + len(patch))
        under = canvas[:, *here]
        under += patch * (paint(patch.shape, np.random.default_rng(self.seed)) - under)
        owner[here][patch >= 0.5] = number


class MovingShapes:
    """`clip[i]` is frame i: (image float32 (3, size, size) in 0..1, target). The target has one
    entry more than those of `targets.py`: `track_ids` (G,) int64, an object's number from 1. As in
    ToyShapes, an object that shows too few pixels is not in it.

    Args:
        count: frames.
        objects: how many shapes cross the image during the clip.
        crossing: how many frames a shape takes from one side to another, at least and at most.
    """

    def __init__(
        self,
        count: int = 100,
        size: int = 128,
        seed: int = 0,
        objects: int = 12,
        crossing: tuple[float, float] = (40.0, 80.0),
        classes: Sequence[str] = ("square", "circle", "triangle"),
    ) -> None:
        ToyShapes(count, size, seed, classes)  # refuses impossible settings
        self.count, self.size, self.seed = count, size, seed
        self.classes = list(classes)
        rng = np.random.default_rng([len(SPLITS), seed])  # apart from the sets of images
        self._margin = 2 * math.ceil(BESIDE * RADII[1] * size / REFERENCE_SIZE)
        self._background = np.pad(background(size, rng), [(0, 0)] + 2 * [(self._margin,) * 2])
        self._sprites = [self._sprite(rng, crossing) for _ in range(objects)]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[np.ndarray, Target]:
        index = range(self.count)[index]
        canvas = self._background.copy()  # wider than the image, so that no shape is cut
        owner = np.zeros(canvas.shape[1:], np.uint8)  # each pixel's object, 0 for none
        for number, sprite in enumerate(self._sprites, start=1):
            sprite.draw(canvas, owner, number, index, self.classes, self._margin)
        window = slice(self._margin, self._margin + self.size)
        image = canvas[:, window, window].copy()
        add_noise(image, np.random.default_rng([self.seed, index]))
        return image, self._target(owner[window, window], index)

    def _target(self, owner: np.ndarray, index: int) -> Target:
        numbers, pixels = np.unique(owner, return_counts=True)
        seen = (numbers > 0) & (pixels > HIDDEN_PIXELS * (self.size / REFERENCE_SIZE) ** 2)
        numbers = numbers[seen].astype(np.int64)
        labels = np.array([sprite.label for sprite in self._sprites])[numbers - 1]
        target = target_from_masks(owner == numbers[:, None, None], labels, index)
        return target | {"track_ids": numbers}

    def _sprite(self, rng: np.random.Generator, crossing: tuple[float, float]) -> Sprite:
        """A random shape that comes from beyond one side and goes out beyond the opposite one."""
        radius = rng.uniform(*RADII) * self.size / REFERENCE_SIZE
        side = int(rng.integers(4))
        start, end = (self._beyond(s, radius, rng) for s in (side, (side + 2) % 4))
        duration = rng.uniform(*crossing)
        first = rng.uniform(-0.7 * duration, self.count - 0.3 * duration)
        return Sprite(
            int(rng.integers(1, len(self.classes) + 1)),
            radius,
            start,
            end,
            (first, first + duration),
            rng.uniform(-0.15, 0.15, 2) * self.size,
            rng.uniform(0, 2 * math.pi),
            rng.uniform(-0.1, 0.1),
            int(rng.integers(2**31)),
        )

    def _beyond(self, side: int, radius: float, rng: np.random.Generator) -> np.ndarray:
        """A place (x, y) from which a shape of this radius just does not reach the image."""
        along = rng.uniform(0.1, 0.9) * self.size
        across = -BESIDE * radius if side < 2 else self.size + BESIDE * radius
        return np.array([along, across] if side % 2 else [across, along])
