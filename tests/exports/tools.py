"""Predictions made by hand."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as rle_tools

from tinymaskrcnn.exports import PredictedImage, Source


@dataclass
class Hand:
    """Detections with these masks, (N, H, W) bool."""

    masks: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray

    def rles(self):
        return [rle_tools.encode(np.asfortranarray(mask, np.uint8)) for mask in self.masks]


def predicted(
    masks, labels=None, path=Path("a.png"), page=None, image=None, classes=("cat", "dog")
):
    """An image with these objects, scores falling from 0.9."""
    masks = np.asarray(masks, bool)
    labels = np.ones(len(masks), int) if labels is None else np.asarray(labels)
    scores = 0.9 - 0.1 * np.arange(len(masks), dtype=np.float32)
    hand = Hand(masks, labels, scores, np.zeros((len(masks), 4)))
    image = np.zeros((3, *masks.shape[1:]), np.float32) if image is None else image
    return PredictedImage(Source(path, page), image, hand, list(classes), 1 << 26)


def boxed(top, left, bottom, right, size=(20, 30)):
    mask = np.zeros(size, bool)
    mask[top:bottom, left:right] = True
    return mask


def ring(size=(20, 30)):
    return boxed(3, 4, 13, 16, size) & ~boxed(6, 7, 9, 12, size)


def two_parts(size=(20, 30)):
    return boxed(1, 20, 5, 24, size) | boxed(10, 20, 17, 29, size)


def save_image(path, size=(20, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size[::-1], "teal").save(path)
    return path
