"""The objects found in one image, kept small: a 28x28 mask per object until whole masks are asked
for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ops.paste_masks.op import paste_masks, paste_masks_binary
from .boxes import Size

_CHUNK = 1 << 26  # bytes of full-size masks that are in memory at once while they are encoded


@dataclass(frozen=True)
class Detections:
    """The objects found in one image, best first.

    Args:
        boxes: (N, 4) float32 in pixels of the image. labels: (N,) int64, 1 and above.
        scores: (N,) float32.
        mask_probabilities: (N, 28, 28) float32, the mask of each box on a grid over the box.
        image_size: height and width of the image: the original one, or the resized one between the
            heads and `Transform.restore`.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    mask_probabilities: np.ndarray
    image_size: Size

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: Any) -> Detections:
        """Select some of the objects by an array of indices or bools, or a slice."""
        if isinstance(index, (int, np.integer)):
            index = slice(index, index + 1 or None)
        return Detections(
            self.boxes[index],
            self.labels[index],
            self.scores[index],
            self.mask_probabilities[index],
            self.image_size,
        )

    def above(self, score: float) -> Detections:
        """Select the objects with a higher score."""
        return self[self.scores > score]

    def masks(self) -> np.ndarray:
        """Paste the masks: probabilities over the whole image, (N, 1, H, W) float32. This takes N
        times the image's size in memory.
        """
        height, width = self.image_size
        return paste_masks(self.mask_probabilities, self.boxes, height, width)[:, None]

    def binary_masks(self, threshold: float = 0.5) -> np.ndarray:
        """The pixels of each object, (N, H, W) bool: its probability is above the threshold."""
        height, width = self.image_size
        return paste_masks_binary(self.mask_probabilities, self.boxes, height, width, threshold)

    def rles(self, threshold: float = 0.5) -> list[dict[str, Any]]:
        """The binary masks as COCO run lengths for pycocotools: dicts of `size` [H, W] and `counts`
        (bytes).
        """
        from pycocotools.mask import encode  # late: only those who evaluate or save need it

        return [
            rle
            for masks in self._column_major_masks(threshold)
            for rle in encode(masks.view(np.uint8))
        ]

    def _column_major_masks(self, threshold: float) -> Iterator[np.ndarray]:
        """The binary masks, (H, W, n) in Fortran order, a bounded number at a time.

        COCO counts down columns. Pasting onto the transposed image makes columns contiguous without
        a transposing copy.
        """
        height, width = self.image_size
        count = max(1, _CHUNK // (height * width))
        for start in range(0, len(self), count):
            part = self[start : start + count]
            sideways = np.ascontiguousarray(part.mask_probabilities.transpose(0, 2, 1))
            boxes = np.ascontiguousarray(part.boxes[:, [1, 0, 3, 2]])
            yield paste_masks_binary(sideways, boxes, width, height, threshold).transpose(2, 1, 0)

    def as_dict(self) -> dict[str, np.ndarray]:
        """Boxes, labels, scores and full-size masks, as torchvision's models return them."""
        return {
            "boxes": self.boxes,
            "labels": self.labels,
            "scores": self.scores,
            "masks": self.masks(),
        }
