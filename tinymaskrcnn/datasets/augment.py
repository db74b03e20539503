"""Random changes to an image and its target that keep boxes and masks right.

Every function takes (image, target) and returns a new pair; it leaves its arguments as they are. An
image is (C, H, W), float32 in 0..1, or uint8 if it was kept so (kept.py) and its colours are not
changed yet. A flip mirrors the boxes. After resizing, cropping or pasting, boxes and areas are
computed anew from the masks, and objects with too few pixels left are dropped. Masks stay crops of
their boxes, and no object outside a window is copied.

Not here: rotations by anything but right angles, and elastic deformation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from ..detection.cropped_masks import CroppedMasks
from ..errors import InputError
from ..models.inputs import Target
from .targets import crowd_flags, select_objects, with_masks

Pair = tuple[np.ndarray, Target]
MULTIPLE = 32  # the stride of the coarsest feature map; canvas sides are multiples of it
MIN_PIXELS = 10  # an object with fewer pixels left is dropped
MIN_SHARE = 0.1  # so is one that a crop leaves less of
PASTED = 0.5  # the chance that copy_paste takes a given object


@dataclass(frozen=True)
class Augmentation:
    """The random changes made to every training image.

    Args:
        flip, vertical_flip, transpose: the probability of each. Together they produce all eight
            orientations, for images that have no up and down.
        scale_jitter: 0.2 resizes by a factor from 0.8 to 1.25, then crops or pads at random back to
            the image's size, rounded up to a multiple of 32.
        colour_jitter: strength of random brightness, contrast and saturation; 0 for none.
        crop: 0.3 cuts each side to a random share from 0.7 to 1, at a random place; the model then
            sees what is left at a larger scale.
        copy_paste: the probability of pasting objects from another image of `partners` (Ghiasi et
            al. 2021). That image has gone through the other changes first.
        partners: the data set that objects are pasted from.
        crop_size: side of the square crops to train on, in pixels of the original image; 0 for
            whole images. A side of the image that is shorter is kept whole. `scale_jitter` then
            changes what the crop shows, not its size.
        crop_on_object: the probability that a crop is placed on a random object; otherwise it lies
            anywhere.

    Raises:
        InputError: `copy_paste` without `partners`.
    """

    flip: float = 0.5
    vertical_flip: float = 0.0
    transpose: float = 0.0
    scale_jitter: float = 0.0
    colour_jitter: float = 0.0
    crop: float = 0.0
    copy_paste: float = 0.0
    partners: Any = None
    crop_size: int = 0
    crop_on_object: float = 0.8

    def __post_init__(self) -> None:
        if self.copy_paste and self.partners is None:
            raise InputError("copy_paste needs partners: a data set to take objects from")

    def __call__(self, image: np.ndarray, target: Target, rng: np.random.Generator) -> Pair:
        image, target = self._moved(image, target, rng)
        if self.copy_paste and rng.random() < self.copy_paste:
            other = self._moved(*self._partner(rng), rng)
            image, target = copy_paste(image, target, *other, rng)
        image = as_floats(image)
        if self.colour_jitter:
            image = jitter_colour(image, rng, self.colour_jitter)
        return image, target

    def _moved(self, image: np.ndarray, target: Target, rng: np.random.Generator) -> Pair:
        """The changes that move objects. Each draws from `rng` only if it is switched on."""
        if self.crop_size:
            image, target = self._cut(image, target, rng)
        chances = {flip: self.flip, vertical_flip: self.vertical_flip, transpose: self.transpose}
        for change, chance in chances.items():
            if rng.random() < chance:
                image, target = change(image, target)
        if self.crop:
            image, target = random_crop(image, target, rng, self.crop)
        if self.scale_jitter and not self.crop_size:
            image, target = jitter_scale(image, target, rng, self.scale_jitter)
        return image, target

    def _cut(self, image: np.ndarray, target: Target, rng: np.random.Generator) -> Pair:
        """A crop whose sides are `crop_size`, after a random change of scale."""
        side = max(1, round(self.crop_size * target.get("scale", 1)))
        factor = random_factor(rng, self.scale_jitter) if self.scale_jitter else 1.0
        sides = [min(length, max(1, round(side / factor))) for length in image.shape[1:]]
        near = bool(rng.random() < self.crop_on_object)
        image, target = cut(image, target, *window_corner(target, sides, rng, near), *sides)
        if factor == 1:
            return image, target
        resized = [min(side, max(1, round(length * factor))) for length in sides]
        return resize(image, target, *resized)

    def _partner(self, rng: np.random.Generator) -> Pair:
        """A random image of `partners`."""
        index = int(rng.integers(len(self.partners)))
        try:
            return self.partners[index]
        except Exception as error:
            error.add_note(f"while pasting from {self.partners.describe(index)}")
            raise


def flip(image: np.ndarray, target: Target) -> Pair:
    """Mirror left and right."""
    width = image.shape[2]
    x1, y1, x2, y2 = target["boxes"].T
    boxes = np.stack([width - x2, y1, width - x1, y2], axis=1)
    return mirrored(image[:, :, ::-1], target, boxes, masks_of(target).flipped(2))


def vertical_flip(image: np.ndarray, target: Target) -> Pair:
    """Mirror top and bottom."""
    height = image.shape[1]
    x1, y1, x2, y2 = target["boxes"].T
    boxes = np.stack([x1, height - y2, x2, height - y1], axis=1)
    return mirrored(image[:, ::-1], target, boxes, masks_of(target).flipped(1))


def transpose(image: np.ndarray, target: Target) -> Pair:
    """Swap rows and columns."""
    boxes = target["boxes"][:, [1, 0, 3, 2]]
    return mirrored(image.transpose(0, 2, 1), target, boxes, masks_of(target).transposed())


def mirrored(image: np.ndarray, target: Target, boxes: np.ndarray, masks: CroppedMasks) -> Pair:
    """Copy the image's view into an array, unless it is uint8, and set the boxes and masks."""
    moved = {**target, "boxes": boxes.astype(np.float32), "masks": masks}
    return image if image.dtype == np.uint8 else np.ascontiguousarray(image), moved


def masks_of(target: Target) -> CroppedMasks:
    """The target's masks as CroppedMasks; they may be stored as an array (G, H, W)."""
    return CroppedMasks.of(target["masks"])


def jitter_scale(
    image: np.ndarray, target: Target, rng: np.random.Generator, strength: float
) -> Pair:
    """Resize by a factor drawn from (1 - strength) to 1 / (1 - strength), then crop or pad back.

    The canvas is the image's size rounded up to a multiple of 32. A smaller resized image is placed
    at random inside it; a larger one is cropped at random.
    """
    factor = random_factor(rng, strength)
    sides = image.shape[1:]
    resized = [max(1, round(side * factor)) for side in sides]
    canvas = [-(-side // MULTIPLE) * MULTIPLE for side in sides]
    corner = [
        int(rng.integers(min(0, old - new), max(0, old - new) + 1))
        for old, new in zip(resized, canvas, strict=True)
    ]
    image, target = resize(image, target, *resized)
    return crop_or_pad(image, target, *corner, *canvas)


def random_factor(rng: np.random.Generator, strength: float) -> float:
    """A factor from (1 - strength) to 1 / (1 - strength)."""
    limit = -np.log1p(-strength)
    return float(np.exp(rng.uniform(-limit, limit)))


def as_floats(image: np.ndarray) -> np.ndarray:
    """The image as float32 in 0..1; it may have been kept as uint8."""
    if image.dtype == np.uint8:
        return np.divide(image, np.float32(255), order="C")
    return np.ascontiguousarray(image)


def window_corner(
    target: Target, sides: Sequence[int], rng: np.random.Generator, near: bool
) -> tuple[int, int]:
    """The top and left of a random window inside the target's image.

    Args:
        sides: height and width of the window, no larger than the image.
        near: whether the window must hold the centre of a random object, a crowd or not; without
            objects it lies anywhere.
    """
    image_size = masks_of(target).image_size
    low, high = np.zeros(2, np.int64), np.subtract(image_size, sides)
    if near and len(target["boxes"]):
        x1, y1, x2, y2 = target["boxes"][int(rng.integers(len(target["boxes"])))]
        centre = np.floor([(y1 + y2) / 2, (x1 + x2) / 2]).astype(np.int64)
        low = np.clip(centre - sides + 1, 0, high)
        high = np.clip(centre, low, high)
    top, left = (int(rng.integers(a, b + 1)) for a, b in zip(low, high, strict=True))
    return top, left


def cut(image: np.ndarray, target: Target, top: int, left: int, height: int, width: int) -> Pair:
    """A window inside the image, with the objects that it meets.

    Image and masks are views, nothing is copied. An object that the window cuts is clipped, and
    dropped if fewer than MIN_PIXELS of its pixels are left, or less than MIN_SHARE of them.
    """
    target = met(target, top, left, height, width)
    before = masks_of(target).areas()
    inside = with_masks(target, masks_of(target).window(top, left, height, width), 0)
    enough = np.minimum(before, np.maximum(MIN_PIXELS, MIN_SHARE * before))
    inside = select_objects(inside, (inside["area"] >= enough) & (inside["area"] > 0))
    return image[:, top : top + height, left : left + width], inside


def met(target: Target, top: int, left: int, height: int, width: int) -> Target:
    """The target with only the objects whose crops meet a window."""
    return select_objects(target, masks_of(target).meets(top, left, height, width))


def random_crop(
    image: np.ndarray, target: Target, rng: np.random.Generator, strength: float
) -> Pair:
    """Crop to a random window; each side keeps a share drawn from (1 - strength) to 1."""
    sides = image.shape[1:]
    kept = [max(1, round(side * rng.uniform(1 - strength, 1))) for side in sides]
    corner = [int(rng.integers(side - k + 1)) for side, k in zip(sides, kept, strict=True)]
    return crop_or_pad(image, target, *corner, *kept)


def copy_paste(
    image: np.ndarray,
    target: Target,
    other_image: np.ndarray,
    other_target: Target,
    rng: np.random.Generator,
) -> Pair:
    """Paste some of another image's objects onto this one, moved together to where there is room.

    Each object that is not a crowd is chosen with probability one half, and at least one is. The
    pixels that they cover are removed from the masks below.
    """
    single = np.flatnonzero(~crowd_flags(other_target)["iscrowd"])
    if len(single) == 0:
        return image, target
    chosen = single[rng.random(len(single)) < PASTED]
    chosen = chosen if len(chosen) else single[[int(rng.integers(len(single)))]]
    objects = select_objects(other_target, chosen)
    height, width = image.shape[1:]
    used = masks_of(objects).union()
    top = free_offset(np.flatnonzero(used.any(axis=1)), height, rng)
    left = free_offset(np.flatnonzero(used.any(axis=0)), width, rng)
    pasted, objects = crop_or_pad(other_image, objects, top, left, height, width)
    covered = masks_of(objects).union()
    below = with_masks(target, masks_of(target).without(covered), MIN_PIXELS)
    return np.where(covered, pasted, image), joined(below, objects)


def free_offset(used: np.ndarray, side: int, rng: np.random.Generator) -> int:
    """The start of a random window of length `side` on an axis: it holds all of the `used` places
    if they fit, otherwise as many as it can.
    """
    if len(used) == 0:
        return 0
    first, length = int(used[0]), int(used[-1]) + 1 - int(used[0])
    room = side - length
    return first - int(rng.integers(min(room, 0), max(room, 0) + 1))


def joined(target: Target, more: Target) -> Target:
    """The objects of both targets; entries that are not per object come from the first."""
    both = ("boxes", "labels", "area", "iscrowd")
    kept = {name: value for name, value in target.items() if not isinstance(value, np.ndarray)}
    kept["masks"] = CroppedMasks.joined(target["masks"], more["masks"])
    return kept | {name: np.concatenate([target[name], more[name]]) for name in both}


def resize(image: np.ndarray, target: Target, height: int, width: int) -> Pair:
    """Resize the image bilinearly (averaging when it shrinks), the masks by nearest neighbour."""
    if image.dtype != np.uint8:
        planes = np.ascontiguousarray(image, np.float32)
        scaled = np.stack([resized_plane(plane, height, width) for plane in planes])
    elif len(image) == 3 and image.strides[0]:  # all channels in one pass
        scaled = resized_plane(image.transpose(1, 2, 0), height, width).transpose(2, 0, 1)
    else:  # grey, whose channels are one in memory: see kept.py
        scaled = np.broadcast_to(
            resized_plane(image[0], height, width), (len(image), height, width)
        )
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.int64)
        for old, new in zip(image.shape[1:], (height, width), strict=True)
    )
    return scaled, with_masks(target, masks_of(target).resampled(rows, columns), MIN_PIXELS)


def resized_plane(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    """An array (H, W), or uint8 (H, W, 3), resized by Pillow."""
    image = Image.fromarray(np.ascontiguousarray(plane))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def crop_or_pad(
    image: np.ndarray, target: Target, top: int, left: int, height: int, width: int
) -> Pair:
    """The window whose corner is at (top, left), which may be negative or reach past the image.

    Outside the image it is filled with the mean colour, which is close to zero after normalisation.
    """
    dtype = np.uint8 if image.dtype == np.uint8 else np.float32
    canvas = np.empty_like(image, dtype, shape=(len(image), height, width))
    rows, from_rows = overlap(image.shape[1], top, height)
    columns, from_columns = overlap(image.shape[2], left, width)
    if (rows, columns) != (slice(0, height), slice(0, width)):
        kept = dtype == np.uint8  # every fourth pixel, and whole numbers, are then enough
        seen = image[:, ::4, ::4] if kept else image
        mean = seen.mean(axis=(1, 2), keepdims=True)
        canvas[:] = np.rint(mean) if kept else mean
    canvas[:, rows, columns] = image[:, from_rows, from_columns]
    target = met(target, top, left, height, width)
    masks = masks_of(target).window(top, left, height, width)
    return canvas, with_masks(target, masks, MIN_PIXELS)


def overlap(length: int, start: int, window: int) -> tuple[slice, slice]:
    """Where a window on an axis shows the image: the slice of the window, and that of the image."""
    first, last = max(start, 0), max(min(start + window, length), max(start, 0))
    return slice(first - start, last - start), slice(first, last)


def jitter_colour(image: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Change brightness, contrast and saturation at random; grey images stay grey."""
    contrast, saturation = rng.uniform(1 - strength, 1 + strength, 2).astype(np.float32)
    brightness = np.float32(rng.uniform(-strength, strength) / 2)
    grey = image.mean(axis=0)
    image = image - grey
    image *= saturation
    image += grey
    mean = image.mean()
    image -= mean
    image *= contrast
    image += mean + brightness
    return np.clip(image, 0, 1, out=image)
