"""Images of any size to one padded batch, their targets with them, and detections back.

This is the only place where the two layouts meet: images come as (C, H, W), as in torchvision, and
every feature map inside the model is (N, H, W, C). What is accepted is checked in inputs.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from .. import memory, parallel, tracing
from ..backend import check_device
from ..detection.boxes import Size, clip_boxes, is_large_enough, scale_boxes
from ..detection.detections import Detections
from ..detection.sampler import Generators, per_image
from ..errors import InputError
from ..gpu import array as gpu_array
from ..ops.resize_normalize.op import nearest_pixels, resize_normalize
from ..settings import (
    SCALE,
    SIDE,
    YES_OR_NO,
    Kind,
    number,
    one_of,
    one_or_several,
    optional,
    setting,
    several,
    whole,
)
from .inputs import Target, check_images, check_target, scale_of

_PERCENTILES = several(number(0, 100), 2)
STRETCH = Kind(
    lambda v: v in ("auto", "off") if isinstance(v, str) else _PERCENTILES.holds(v) and v[0] < v[1],
    "auto, off, or two percentiles LOW,HIGH",
    lambda text: text if text in ("auto", "off") else _PERCENTILES.read(text),
)


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

    resize: str = setting(
        "linear",
        one_of("linear", "pillow"),
        "linear: floats, between the two nearest pixels; pillow: whole grey values as Pillow's "
        "BILINEAR resizes them, which averages where it shrinks",
    )
    round_sides: bool = setting(
        False, YES_OR_NO, "whether the sides of a resized image are rounded, not truncated"
    )
    clip_detections: bool = setting(
        False,
        YES_OR_NO,
        "whether boxes are clipped to the image once more after scaling, and dropped if empty",
    )
    paste: str = setting(
        "pixels",
        one_of("pixels", "exact"),
        "how masks are pasted: pixels: into a box of whole pixels; exact: into the box as it is",
    )
    stretch: str | tuple[float, ...] = setting(
        "off",
        STRETCH,
        "how images are read: auto stretches dark grey ones by percentiles",
    )
    scale: float | None = setting(
        None,
        optional(SCALE),
        "input pixels per image pixel, for images of any size; min_size x max_size is then the "
        "area that the limits of proposals and detections are for",
    )
    object_sizes: tuple[float, ...] | None = setting(
        None,
        optional(several(number(0, 2**16), 3)),
        "5th, 50th and 95th percentile of the sizes of the objects learnt from, each the square "
        "root of its mask's area, in image pixels",
    )

    def __post_init__(self) -> None:
        if self.object_sizes is not None:
            object.__setattr__(self, "object_sizes", tuple(self.object_sizes))
        for name in ("min_size", "image_mean", "image_std"):  # one number, or a list as from JSON
            object.__setattr__(self, name, tuple(np.atleast_1d(getattr(self, name)).tolist()))


@dataclass(frozen=True)
class ImageBatch:
    """Images ready for the backbone.

    Args:
        tensor: (N, H, W, C) float32, on the host or the device: normalised, each image in the top
            left corner, zeros around it.
        sizes: height and width of each image after resizing, without padding.
        original_sizes: height and width of each image as given.
    """

    tensor: Any
    sizes: list[Size]
    original_sizes: list[Size]


class Transform:
    """Normalises, resizes and pads images with their boxes and masks; maps detections back."""

    def __init__(self, config: TransformConfig) -> None:
        self.config = config

    def __call__(
        self,
        images: Sequence[np.ndarray],
        targets: Sequence[Target] | None = None,
        rng: Generators | None = None,
        device: str = "cpu",
    ) -> tuple[ImageBatch, list[Target] | None]:
        """Make a batch, and targets in its coordinates.

        A model with a `scale` resizes by it every image, with targets or without. An image that its
        loader has resized already says so by its target's `scale` (see `Target`).

        Args:
            images: float arrays (C, H, W) in 0..1, each its own size.
            targets: one dict per image; they are not changed.
            rng: draws one of several `min_size`; or one generator per image. None takes the last.
            device: where the batch is made.

        Raises:
            InputError: an image or target that cannot be used; says which, and why.
        """
        images = check_images(images, len(self.config.image_mean))
        if targets is not None and len(targets) != len(images):
            raise InputError(f"{len(images)} images, but {len(targets)} targets")
        original_sizes = [image.shape[1:] for image in images]
        rngs = [None] * len(images) if rng is None else per_image(rng, len(images))
        known = [{}] * len(images) if targets is None else targets
        scales = [scale_of(target, i) for i, target in enumerate(known)]
        given = zip(original_sizes, rngs, scales, strict=True)
        sizes = [self.resized_size(*image) for image in given]
        batch = ImageBatch(self._pad_together(images, sizes, device), sizes, original_sizes)
        tracing.record(
            "transform",
            batch=batch.tensor,
            sizes=sizes,
            original_sizes=original_sizes,
            normalisation=(self.config.image_mean, self.config.image_std),
        )
        if targets is None:
            return batch, None
        paired = zip(targets, original_sizes, sizes, strict=True)
        resized = [
            resize_target(check_target(target, i, original), original, size)
            for i, (target, original, size) in enumerate(paired)
        ]
        tracing.record("transform.targets", resized)
        return batch, resized

    def resized_size(
        self, size: Size, rng: np.random.Generator | None = None, scaled: float = 1.0
    ) -> Size:
        """Height and width after resizing an image of this height and width.

        By `min_size` and `max_size` the scale is a double and the product is truncated, not
        rounded, as in torchvision: the shorter side may come out one pixel short. With
        `round_sides` it is exactly `min_size`, unless `max_size` limits it, as in detectron2.

        Args:
            rng: as for a call. scaled: how much the image has been resized already; matters only
                for a model with a `scale`.
        """
        if self.config.scale is not None:
            scale = self.config.scale / scaled
            return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)
        choices = np.atleast_1d(self.config.min_size)
        shorter = int(choices[-1] if rng is None or len(choices) == 1 else rng.choice(choices))
        if self.config.round_sides:
            return _rounded_size(size, shorter, self.config.max_size)
        scale = min(shorter / min(size), self.config.max_size / max(size))
        return max(int(size[0] * scale), 1), max(int(size[1] * scale), 1)

    def room(self, sizes: Sequence[Size]) -> float:
        """How many times as many proposals and detections an image may have as the settings say,
        which are for images of `min_size` x `max_size` pixels: as many times as the largest of
        these resized images is larger. Only a `scale` makes images larger than that.
        """
        area = self.config.min_size[-1] * self.config.max_size  # type: ignore[index]
        return max(1.0, *(height * width / area for height, width in sizes))

    def _pad_together(
        self, images: Sequence[np.ndarray], sizes: Sequence[Size], device: str
    ) -> Any:
        """Resize and normalise the images into one array (N, H, W, C)."""
        divisor = self.config.size_divisor
        height, width = (-(-side // divisor) * divisor for side in parallel.largest_size(sizes))
        mean, std = self.config.image_mean, self.config.image_std
        on_device = check_device(device) == "cuda"
        make = gpu_array.empty if on_device else memory.empty
        tensor: Any = make((len(images), height, width, len(mean)))
        for image, size, out in zip(images, sizes, tensor, strict=True):
            if self.config.resize == "pillow":
                image = pillow_resized(image, size)  # then nothing is left to resize
            given: Any = gpu_array.to_device(image) if on_device else image
            resize_normalize(given, size, mean, std, out)
        return tensor

    def restore(self, found: Sequence[Detections], batch: ImageBatch) -> list[Detections]:
        """Map detections to the pixels of the original images.

        Args:
            found: per image, in pixels of the resized image.
        """
        pairs = zip(found, batch.original_sizes, strict=True)
        detections = [self.to_image(one, size) for one, size in pairs]
        tracing.record("detections", detections)
        return detections

    def to_image(self, found: Detections, size: Size) -> Detections:
        """The detections in pixels of the original image, which has this height and width."""
        boxes = scale_boxes(found.boxes, found.image_size, size)
        if self.config.clip_detections:
            boxes = clip_boxes(boxes, size)
        found = replace(found, boxes=boxes, image_size=size, paste=self.config.paste)
        return found[is_large_enough(boxes, 0)] if self.config.clip_detections else found


def _rounded_size(size: Size, shorter: int, longer: int) -> Size:
    """Both sides times one scale, then times another if the longer one is over its limit, then
    rounded: the order of detectron2's ResizeShortestEdge, which decides some pixels.
    """
    scale = shorter / min(size)
    sides = [float(shorter) if side == min(size) else scale * side for side in size]
    if max(sides) > longer:
        scale = longer / max(sides)
        sides = [side * scale for side in sides]
    height, width = (max(int(side + 0.5), 1) for side in sides)
    return height, width


def pillow_resized(image: np.ndarray, size: Size) -> np.ndarray:
    """An image (C, H, W) in 0..1, made whole grey values and resized to this height and width by
    Pillow, in 0..1 again.
    """
    grey = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    resized = [
        np.asarray(Image.fromarray(channel).resize(size[::-1], Image.Resampling.BILINEAR))
        for channel in grey
    ]
    return np.stack(resized).astype(np.float32) / np.float32(255)


def resize_target(target: Target, from_size: Size, to_size: Size) -> Target:
    """Fit the boxes and masks of a target from `check_target` to the resized image; keep everything
    else.
    """
    resized: dict[str, Any] = dict(target)
    resized["boxes"] = scale_boxes(target["boxes"], from_size, to_size)
    if from_size != to_size:
        places = (nearest_pixels(*sides) for sides in zip(from_size, to_size, strict=True))
        resized["masks"] = target["masks"].resampled(*places)
    return resized
