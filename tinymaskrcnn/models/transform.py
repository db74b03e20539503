"""Pictures of any size to one padded batch, targets along with them, and detections back.

The only place where the two layouts meet: pictures come as (C, H, W), as in torchvision, and every
feature map inside the model is (N, H, W, C). What is accepted stands in inputs.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import memory, parallel, tracing
from ..backend import check_device
from ..detection.boxes import Size, scale_boxes
from ..detection.detections import Detections, Found
from ..detection.sampler import Generators, per_picture
from ..errors import InputError
from ..gpu import array as gpu_array
from ..ops.resize_normalize.op import nearest_pixels, resize_normalize
from ..settings import SIDE, number, one_or_several, setting, whole
from .inputs import Target, check_images, check_target


@dataclass(frozen=True)
class TransformConfig:
    """How images are prepared."""

    min_size: int | tuple[int, ...] = setting(
        800,
        one_or_several(SIDE),
        "shorter side in pixels; of several, training draws one and inference takes the last",
    )
    max_size: int = setting(1333, SIDE, "limit of the longer side; wins over min_size")
    image_mean: tuple[float, ...] = setting(
        (0.485, 0.456, 0.406),
        one_or_several(number(-1e6, 1e6)),
        "mean of each channel, for images in 0..1",
    )
    image_std: tuple[float, ...] = setting(
        (0.229, 0.224, 0.225),
        one_or_several(number(1e-6, 1e6)),
        "standard deviation of each channel",
    )
    size_divisor: int = setting(
        32, whole(1, 2**12), "both sides of a batch are padded to multiples of this"
    )

    def __post_init__(self) -> None:
        for name in ("min_size", "image_mean", "image_std"):  # one number, or a list as from JSON
            object.__setattr__(self, name, tuple(np.atleast_1d(getattr(self, name)).tolist()))


@dataclass(frozen=True)
class ImageBatch:
    """Pictures ready for the backbone.

    Args:
        tensor: (N, H, W, C) float32, on the host or the device: normalised, each picture in the top
            left corner, zeros around.
        sizes: height and width of each picture after resizing, without the padding.
        original_sizes: height and width of each picture as it came.
    """

    tensor: Any
    sizes: list[Size]
    original_sizes: list[Size]


class Transform:
    """Normalises, resizes and pads pictures; moves boxes and masks along; takes detections back."""

    def __init__(self, config: TransformConfig) -> None:
        self.config = config

    def __call__(
        self,
        images: Sequence[np.ndarray],
        targets: Sequence[Target] | None = None,
        rng: Generators | None = None,
        device: str = "cpu",
    ) -> tuple[ImageBatch, list[Target] | None]:
        """A batch, and the targets in its coordinates.

        Args:
            images: float arrays (C, H, W) in 0..1, each its own size.
            targets: a dict a picture; those given are left as they are.
            rng: draws one of several `min_size` (or one for each picture); None takes the last.
            device: where the batch is made.

        Raises:
            InputError: a picture or target that cannot be used; says which, and why.
        """
        images = check_images(images, len(self.config.image_mean))
        if targets is not None and len(targets) != len(images):
            raise InputError(f"{len(images)} images, but {len(targets)} targets")
        original_sizes = [image.shape[1:] for image in images]
        rngs = [None] * len(images) if rng is None else per_picture(rng, len(images))
        sizes = [self.resized_size(*pair) for pair in zip(original_sizes, rngs, strict=True)]
        batch = ImageBatch(self._pad_together(images, sizes, device), sizes, original_sizes)
        self._record(batch)
        if targets is None:
            return batch, None
        paired = zip(targets, original_sizes, sizes, strict=True)
        resized = [
            resize_target(check_target(target, i, original), original, size)
            for i, (target, original, size) in enumerate(paired)
        ]
        tracing.record("transform.targets", resized)
        return batch, resized

    def resized_size(self, size: Size, rng: np.random.Generator | None = None) -> Size:
        """Height and width after resizing, for a picture of this height and width.

        The scale is a double and the product is cut off, not rounded, as in torchvision: the
        shorter side may come out one pixel short.
        """
        choices = np.atleast_1d(self.config.min_size)
        shorter = int(choices[-1] if rng is None or len(choices) == 1 else rng.choice(choices))
        scale = min(shorter / min(size), self.config.max_size / max(size))
        return max(int(size[0] * scale), 1), max(int(size[1] * scale), 1)

    def _pad_together(
        self, images: Sequence[np.ndarray], sizes: Sequence[Size], device: str
    ) -> Any:
        """Resized, normalised pictures in one array (N, H, W, C)."""
        divisor = self.config.size_divisor
        height, width = (-(-side // divisor) * divisor for side in parallel.largest_size(sizes))
        mean, std = self.config.image_mean, self.config.image_std
        on_device = check_device(device) == "cuda"
        make = gpu_array.empty if on_device else memory.empty
        tensor: Any = make((len(images), height, width, len(mean)))
        for image, size, out in zip(images, sizes, tensor, strict=True):
            given: Any = gpu_array.to_device(image) if on_device else image
            resize_normalize(given, size, mean, std, out)
        return tensor

    def _record(self, batch: ImageBatch) -> None:
        with tracing.scope("transform"):
            tracing.record("batch", batch.tensor)
            tracing.record("sizes", batch.sizes)
            tracing.record("original_sizes", batch.original_sizes)
            tracing.record("normalisation", (self.config.image_mean, self.config.image_std))

    def restore(self, found: Sequence[Found], batch: ImageBatch) -> list[Detections]:
        """Detections in the pictures' own pixels.

        Args:
            found: a tuple a picture: boxes (n, 4) in pixels of the resized picture, labels, scores,
                mask probabilities.
        """
        pictures = zip(found, batch.sizes, batch.original_sizes, strict=True)
        detections = [
            Detections(scale_boxes(boxes, size, original), labels, scores, masks, original)
            for (boxes, labels, scores, masks), size, original in pictures
        ]
        if tracing.recording():
            tracing.record("detections.boxes", [d.boxes for d in detections])
            tracing.record("detections.paste_boxes", [d.paste_boxes() for d in detections])
        return detections


def resize_target(target: Target, from_size: Size, to_size: Size) -> Target:
    """A target from `check_target` whose boxes and masks fit the resized picture; everything else
    is kept.
    """
    resized: dict[str, Any] = dict(target)
    resized["boxes"] = scale_boxes(target["boxes"], from_size, to_size)
    if from_size != to_size:
        places = (nearest_pixels(*sides) for sides in zip(from_size, to_size, strict=True))
        resized["masks"] = target["masks"].resampled(*places)
    return resized
