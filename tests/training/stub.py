"""A model that learns the mean colour of images in milliseconds, with everything that a Trainer
uses: two parameters, a buffer, randomness in its loss, detections.
"""

from __future__ import annotations

import numpy as np

from tinymaskrcnn.detection.detections import Detections
from tinymaskrcnn.detection.sampler import per_image
from tinymaskrcnn.nn import Module, Parameter
from tinymaskrcnn.tensor import Tensor
from tinymaskrcnn.training import Recipe

TERMS = (
    "loss_objectness",
    "loss_rpn_box_reg",
    "loss_classifier",
    "loss_box_reg",
    "loss_mask",
)
RECIPE = Recipe(
    steps=8, batch_size=2, lr=0.1, warmup_steps=2, checkpoint_every=3, sample_every=0, ema=0.9
)


class Colours(Module):
    """features (N, 3) to (N, 2)."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.weight = Parameter(rng.standard_normal((2, 3), np.float32))
        self.bias = Parameter(np.zeros(2, np.float32))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.T + self.bias


class StubModel(Module):
    """Its detections are the left half of the image, as class 1."""

    buffers = ("seen",)

    def __init__(self, seed: int = 0) -> None:
        self.head = Colours(np.random.default_rng(seed))
        self.seen = np.zeros(1, np.float32)
        self.config = {"builder": "stub", "num_classes": 3}

    def forward(self, images, targets, rng):
        self.seen += len(images)
        colours = np.stack([image.mean(axis=(1, 2)) for image in images])
        answers = self.head(Tensor(colours))
        wanted = np.array([[len(t["labels"]), 1.0] for t in targets], np.float32)
        rngs = per_image(rng, len(images))
        noise = np.stack([own.standard_normal(2) for own in rngs]).astype(np.float32)
        error = ((answers - wanted + 0.1 * noise) ** 2).mean()
        return {term: error * (1.0 + i) for i, term in enumerate(TERMS)}

    def detect(self, images):
        half = np.ones((1, 28, 28), np.float32)
        return [
            Detections(
                np.array([[0, 0, image.shape[2] / 2, image.shape[1]]], np.float32),
                np.array([1]),
                np.array([0.9], np.float32),
                half,
                image.shape[1:],
            )
            for image in images
        ]


def stub_images(count: int = 5, size: int = 16) -> list:
    """Random images, each with its left half as the only object."""
    rng = np.random.default_rng(7)
    masks = np.zeros((1, size, size), np.uint8)
    masks[:, :, : size // 2] = 1
    target = {
        "boxes": np.array([[0, 0, size / 2, size]], np.float32),
        "labels": np.array([1]),
        "masks": masks,
    }
    return [(rng.random((3, size, size), np.float32), dict(target)) for _ in range(count)]
