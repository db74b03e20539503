"""The objects found in one image, kept small: a 28x28 mask per object until whole masks are asked
for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..ops.paste_masks.op import paste_masks, paste_masks_binary
from .boxes import Size
from .cropped_masks import CroppedMasks


@dataclass(frozen=True)
class Detections:
    """The objects found in one image, best first.

    Args:
        boxes: (N, 4) float32 in pixels of the image. labels: (N,) int64, 1 and above.
        scores: (N,) float32.
        mask_probabilities: (N, 28, 28) float32, the mask of each box on a grid over the box.
        image_size: height and width of the image: the original one, or the resized one between the
            heads and `Transform.restore`.
        paste: how masks are pasted into the image, as in `paste_masks`.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    mask_probabilities: np.ndarray
    image_size: Size
    paste: str = "pixels"

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: Any) -> Detections:
        """Select some of the objects by an array of indices or bools, or a slice."""
        if isinstance(index, (int, np.integer)):
            index = slice(index, index + 1 or None)
        return replace(
            self,
            boxes=self.boxes[index],
            labels=self.labels[index],
            scores=self.scores[index],
            mask_probabilities=self.mask_probabilities[index],
        )

    @classmethod
    def joined(cls, parts: Sequence[Detections], image_size: Size) -> Detections:
        """All detections of one or more sets, in one image."""
        return cls(
            np.concatenate([part.boxes for part in parts]),
            np.concatenate([part.labels for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.mask_probabilities for part in parts]),
            image_size,
            parts[0].paste,
        )

    def moved(self, corner: Sequence[int], image_size: Size) -> Detections:
        """The same objects in an image of this size, of which this one is the part at `corner`, x
        and y.
        """
        boxes = self.boxes + np.array([*corner, *corner], np.float32)
        return replace(self, boxes=boxes, image_size=image_size)

    def above(self, score: float) -> Detections:
        """Select the objects with a higher score."""
        return self[self.scores > score]

    def masks(self) -> np.ndarray:
        """Paste the masks: probabilities over the whole image, (N, 1, H, W) float32. This takes N
        times the image's size in memory.
        """
        height, width = self.image_size
        masks = paste_masks(self.mask_probabilities, self.boxes, height, width, self.paste)
        return masks[:, None]

    def binary_masks(self, threshold: float = 0.5) -> np.ndarray:
        """The pixels of each object, (N, H, W) bool: its probability is above the threshold."""
        height, width = self.image_size
        return paste_masks_binary(
            self.mask_probabilities, self.boxes, height, width, threshold, self.paste
        )

    def cropped_masks(self, threshold: float = 0.5, enlarge: int = 1) -> CroppedMasks:
        """The binary masks as crops, on the image or on one `enlarge` times as large: however large
        it is, only the objects take memory.
        """
        height, width = (side * enlarge for side in self.image_size)
        boxes = self.boxes * np.float32(enlarge)
        spill = (boxes[:, 2:] - boxes[:, :2]) / 28 + 2  # pasting pads the grid by one on each side
        low = np.maximum(boxes[:, :2] - spill, 0).astype(np.int64)
        high = np.minimum(boxes[:, 2:] + spill, (width, height)).astype(np.int64)
        sizes = np.maximum(high - low, 1)
        boxes = boxes - np.tile(low, 2).astype(np.float32)
        crops = [
            paste_masks_binary(mask[None], box[None], rows, columns, threshold, self.paste)[0]
            for mask, box, (columns, rows) in zip(
                self.mask_probabilities, boxes, sizes.tolist(), strict=True
            )
        ]
        return CroppedMasks(crops, low[:, ::-1], (height, width), bool)

    def rles(self, threshold: float = 0.5) -> list[dict[str, Any]]:
        """The binary masks as COCO run lengths for pycocotools: dicts of `size` [H, W] and `counts`
        (bytes).
        """
        return self.cropped_masks(threshold).rles()

    def as_dict(self) -> dict[str, np.ndarray]:
        """Boxes, labels, scores and full-size masks, as torchvision's models return them."""
        return {
            "boxes": self.boxes,
            "labels": self.labels,
            "scores": self.scores,
            "masks": self.masks(),
        }
