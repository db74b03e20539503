"""What was found in one picture, kept small: a 28x28 mask an object until whole pictures are asked
for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ops.paste_masks.op import paste_boxes, paste_masks, paste_masks_binary
from .boxes import Size

Found = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # boxes, labels, scores, masks
_CHUNK = 1 << 26  # bytes of full-size masks that are in memory at once while they are encoded


@dataclass(frozen=True)
class Detections:
    """The objects found in one picture, best first.

    Args:
        boxes: (N, 4) float32 in pixels of the original picture. labels: (N,) int64, 1 and above.
            scores: (N,) float32.
        mask_probabilities: (N, 28, 28) float32, the mask of each box on a grid over the box.
        image_size: height and width of the original picture.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    mask_probabilities: np.ndarray
    image_size: Size

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: Any) -> Detections:
        """Some of the objects: an array of indices or of bools, or a slice."""
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
        """Those whose score is above this."""
        return self[self.scores > score]

    def masks(self) -> np.ndarray:
        """Probabilities over the whole picture, (N, 1, H, W) float32: N times the picture's size in
        memory.
        """
        height, width = self.image_size
        return paste_masks(self.mask_probabilities, self.boxes, height, width)[:, None]

    def paste_boxes(self) -> np.ndarray:
        """The whole pixels that each mask is resized to, (N, 4) int64: `paste_boxes` of ops."""
        return paste_boxes(self.boxes, self.mask_probabilities.shape[1])

    def binary_masks(self, threshold: float = 0.5) -> np.ndarray:
        """Which pixels belong to each object, (N, H, W) bool: those with a probability above the
        threshold.
        """
        height, width = self.image_size
        return paste_masks_binary(self.mask_probabilities, self.boxes, height, width, threshold)

    def rles(self, threshold: float = 0.5) -> list[dict[str, Any]]:
        """The binary masks as COCO run lengths: dicts of `size` [H, W] and `counts` (bytes), as
        pycocotools wants them.
        """
        from pycocotools.mask import encode  # late: only those who evaluate or save need it

        return [
            rle
            for masks in self._column_major_masks(threshold)
            for rle in encode(masks.view(np.uint8))
        ]

    def _column_major_masks(self, threshold: float) -> Iterator[np.ndarray]:
        """The binary masks, (H, W, n) in Fortran order, a bounded number at a time.

        COCO counts down columns. Pasting the picture on its side puts columns together without a
        transposing copy.
        """
        height, width = self.image_size
        count = max(1, _CHUNK // (height * width))
        for start in range(0, len(self), count):
            part = self[start : start + count]
            sideways = np.ascontiguousarray(part.mask_probabilities.transpose(0, 2, 1))
            boxes = np.ascontiguousarray(part.boxes[:, [1, 0, 3, 2]])
            yield paste_masks_binary(sideways, boxes, width, height, threshold).transpose(2, 1, 0)

    def as_dict(self) -> dict[str, np.ndarray]:
        """boxes, labels, scores and full-size masks, as torchvision's models return them."""
        return {
            "boxes": self.boxes,
            "labels": self.labels,
            "scores": self.scores,
            "masks": self.masks(),
        }
