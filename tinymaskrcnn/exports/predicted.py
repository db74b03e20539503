"""What every format gets to write: one image and the objects found in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from ..datasets.outlines import Part, parts_of
from ..datasets.run_lengths import masks_from_rles
from ..detection.cropped_masks import CroppedMasks
from ..evaluation.results import Found


class Source(NamedTuple):
    """An image file; the page of it (from 1) if one was asked for."""

    path: Path
    page: int | None = None

    def __str__(self) -> str:
        return str(self.path) + (f" page {self.page}" if self.page else "")


@dataclass(frozen=True)
class PredictedImage:
    """One image and its detections, best first. An object's number counts them from 1, and is the
    same in all formats.

    Attributes:
        image: (C, H, W) float32 in 0..1, as the model saw it; or a CompactImage, an array on
            request.
        detections: its objects.
        classes: names in label order.
        max_pixels: the limit for reading the file again.
        lost: what a format could not hold, added by it: the kind and a detail.
    """

    source: Source
    image: Any
    detections: Found
    classes: Sequence[str]
    max_pixels: int
    lost: list[tuple[str, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.detections.labels)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.image.shape[1], self.image.shape[2]

    @cached_property
    def names(self) -> list[str]:
        """The class name of each object."""
        return [self.classes[label - 1] for label in self.detections.labels]

    @cached_property
    def masks(self) -> CroppedMasks:
        """The masks of the objects, uint8."""
        return masks_from_rles(self.detections.rles(), self.size)

    @cached_property
    def outlines(self) -> list[list[Part]]:
        """The parts of each object, largest first; none if it has no pixel."""
        return self._outlines(simple=False)

    @cached_property
    def simple_outlines(self) -> list[list[Part]]:
        """The same with fewer corners, for people to edit."""
        return self._outlines(simple=True)

    def _outlines(self, simple: bool) -> list[list[Part]]:
        masks = self.masks
        pairs = zip(masks.crops, masks.corners.tolist(), strict=True)
        return [parts_of(crop, (row, column), simple) for crop, (row, column) in pairs]
