"""Dark grey images, stretched by percentiles as microscopists look at them.

A camera rarely fills the range of its file: most images of a microscope use a tenth of it. Here the
1st percentile of an image becomes 0 and the 99.8th 1, what lies beyond is clipped.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import InputError
from ..models.transform import STRETCH
from .images import CompactImage

PERCENTILES = (1.0, 99.8)
DARK = 128 / 255  # an image is stretched by rule if its upper percentile lies below
LEAST = 4 / 255  # less than this range is noise, and stays as it is
logger = logging.getLogger(__name__)


class Stretch:
    """Stretches images as a model's `stretch` says, and logs the first one that it stretches.

    Args:
        how: "off"; "auto" for grey images, RGB with equal channels among them, whose 99.8th
            percentile is below 128 of 255; or two percentiles, by which every image is stretched,
            a colour one by the same values in all channels.

    Raises:
        InputError: none of these.
    """

    def __init__(self, how: str | Sequence[float] = "off") -> None:
        if not STRETCH.holds(how):
            raise InputError(f"stretch: expected {STRETCH.description}, got {how!r}")
        self.rule = how == "auto"
        self.percentiles = PERCENTILES if isinstance(how, str) else (float(how[0]), float(how[1]))
        self.off, self.told = how == "off", False

    def __call__(self, image: np.ndarray, name: Any = "image") -> np.ndarray:
        """The image (C, H, W) in 0..1, stretched if that is asked for; `name` is for the log."""
        if self.off:
            return image
        ends = self._ends(image, 0.0, 1.0, name)
        if ends is None:
            return image
        low, high = ends
        return np.clip((image - np.float32(low)) / np.float32(high - low), 0, 1)

    def compact(self, image: CompactImage, name: Any = "image") -> CompactImage:
        """The same for a CompactImage, which takes no more memory than its values."""
        if self.off:
            return image
        values, low = image.values, image.low
        planes = values[None] if values.ndim == 2 else values.transpose(2, 0, 1)
        span = 255.0 if low is None else image.high - low
        ends = self._ends(planes, low or 0.0, span, name)
        if ends is None:
            return image
        if not is_grey(planes):
            table = np.clip((np.arange(256) - ends[0]) / (ends[1] - ends[0]), 0, 1)
            return replace(image, values=np.rint(255 * table).astype(np.uint8)[values])
        kept = np.clip(planes[0], *ends)
        if image.transparent is not None:
            kept[planes[0] == image.transparent] = image.transparent
        return replace(image, values=kept, low=ends[0], high=ends[1])

    def _ends(
        self, planes: np.ndarray, low: float, span: float, name: Any
    ) -> tuple[float, float] | None:
        """The values that become 0 and 1, of (C, H, W) that reach from `low` over `span`; None for
        an image that stays as it is.
        """
        grey = is_grey(planes)
        if self.rule and not grey:
            return None
        ends = np.percentile(planes[:1] if grey else planes, self.percentiles)
        first, last = ((float(end) - low) / max(span, np.finfo(float).tiny) for end in ends)
        if last - first < LEAST or (self.rule and last >= DARK):
            return None
        if not self.told:
            self.told = True
            logger.info(
                "%s and others like it are stretched: percentiles %g and %g, here %.0f and %.0f of "
                "255, become black and white",
                name,
                *self.percentiles,
                255 * first,
                255 * last,
            )
        return float(ends[0]), float(ends[1])


def is_grey(image: np.ndarray) -> bool:
    """Whether all channels of an image (C, H, W) are equal."""
    return len(image) == 1 or bool((image[1:] == image[:1]).all())
