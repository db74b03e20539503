"""Images that training reads once: brought to the size that the model sees, and kept in memory.

They are resized as the model's transform does it at inference, so that it has nothing left to do.
Kept are 8 bits per channel, one channel of a grey image, and masks as crops of their boxes. An
image that a model enlarges is kept as it is: the transform enlarges the crops, which takes less
time than to keep four times as much takes memory.

Not here: crops and other random changes (augment.py).
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np

from ..detection.boxes import Size
from ..models.inputs import Target
from ..models.transform import Transform, TransformConfig, resize_target
from ..ops.resize_normalize.op import Axis
from ..ops.resize_normalize.reference import resize_normalize  # no kernel: see loader.py

PER_OBJECT = 300  # bytes that an object takes besides its mask
logger = logging.getLogger(__name__)


class KeptImages:
    """Stands for a data set of (image, target). Images come as uint8 (C, H, W), maybe smaller.

    Which images are kept depends on the order in which they are asked for, what they hold does not.

    Args:
        dataset: has len(), [i] and describe(i); images are float32 in 0..1.
        config: of the model's transform.
        margin: how many times larger than the model sees them images are kept, for augmentations
            that enlarge them. They are never kept larger than they are.
        crops: whether training takes crops; images of a model without a `scale` then stay whole.
        memory: bytes that may be kept; the other images are read again each time.
    """

    def __init__(
        self, dataset: Any, config: TransformConfig, margin: float, crops: bool, memory: float
    ) -> None:
        self.dataset, self.margin, self.crops, self.memory = dataset, margin, crops, memory
        self.config = replace(
            config, min_size=(int(np.max(config.min_size)),)
        )  # of several, the largest
        self.used = 0  # bytes
        self._kept: dict[int, tuple[np.ndarray, int, Target]] = {}
        self._told = False

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[np.ndarray, Target]:
        found = self._kept.get(index)
        if found is None:
            found = self._read(index)
            self._keep(index, found)
        image, channels, target = found
        return np.broadcast_to(image, (channels, *image.shape[1:])), dict(target)

    def describe(self, index: int) -> str:
        return self.dataset.describe(index)

    def size_to_keep(self, size: Size) -> Size:
        """Height and width at which an image of this height and width is kept."""
        if self.crops and self.config.scale is None:
            return size
        seen = Transform(self.config).resized_size(size)
        factor = self.margin * max(seen) / max(size)
        if factor >= 1:
            return size
        if self.margin == 1:
            return seen
        return max(round(size[0] * factor), 1), max(round(size[1] * factor), 1)

    def _read(self, index: int) -> tuple[np.ndarray, int, Target]:
        """An image of 1 or C channels, C, and the target."""
        image, target = self.dataset[index]
        channels, *size = image.shape
        if channels > 1 and (image == image[:1]).all():
            image = image[:1]
        kept = self.size_to_keep((size[0], size[1]))
        if kept != tuple(size):
            image = shrunk(image, kept)
            target = resize_target(target, (size[0], size[1]), kept)
            if self.config.scale is not None:
                target["scale"] = max(kept) / max(size)
        pixels = np.rint(image * np.float32(255)).astype(np.uint8).transpose(1, 2, 0)
        return np.ascontiguousarray(pixels).transpose(2, 0, 1), channels, target  # as Pillow has it

    def _keep(self, index: int, found: tuple[np.ndarray, int, Target]) -> None:
        image, _, target = found
        masks = sum(crop.nbytes + PER_OBJECT for crop in target["masks"].crops)
        if self.used + image.nbytes + masks <= self.memory:
            self._kept[index] = found
            self.used += image.nbytes + masks
        elif not self._told:
            self._told = True
            logger.info(
                "%d of %d images are kept in memory, which is all that image_memory allows "
                "(%.2g GiB); the others are read again each time",
                len(self._kept),
                len(self),
                self.memory / 2**30,
            )


def shrunk(image: np.ndarray, size: Size) -> np.ndarray:
    """The image (C, H, W) as the model's transform resizes it, not normalised."""
    out = np.empty((*size, len(image)), np.float32)
    colour = np.zeros(len(image), np.float32), np.ones(1, np.float32)
    rows, columns = (Axis(*sides, 0, 0) for sides in zip(image.shape[1:], size, strict=True))
    resize_normalize(image, size, *colour, out, rows, columns)
    return out.transpose(2, 0, 1)
