"""Annotations that are images themselves: masks as PNG, TIFF, BMP or GIF, which are lossless.

The layouts:

- a folder per image, as in the 2018 Data Science Bowl: `ID/images/ID.png` (or one image in `ID`)
  and `ID/masks/` with one file per object; files in `ID/masks/NAME/` are of the class NAME;
- instance ids: one file per image, in which each object has a value of its own and 0 means none. It
  has the image's name, maybe followed by one of `SUFFIXES`, and lies beside the image, in `masks/`
  beside `images/`, or anywhere if `images_dir` says where the images are.

Values are grey (8, 16 or 32 bits), palette entries (255 is the border that Pascal VOC draws around
objects), or colours.

Not here: class maps, which do not tell objects apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ... import rle_tools
from ...errors import InputError
from ..images import opened
from ..issues import ODD, Issue
from ..run_lengths import as_text
from .annotations import (
    DEFAULT_CLASS,
    AnnotatedImage,
    AnnotatedObject,
    Annotations,
    Options,
    images_in,
    left_out,
    unreadable,
)
from .orientation import Canvas, canvas, on_stored, upright

SUFFIXES = ("", "_mask", "_masks", "_instances", "_instance_ids", "_labels")
IMAGE_FOLDERS = ("images", "imgs", "image", "pictures", "PNGImages", "JPEGImages")
MASK_FOLDERS = ("masks", "mask", "instances", "labels", "PedMasks", "SegmentationObject")
LOSSLESS = ("PNG", "TIFF", "BMP", "GIF", "PPM")
BORDER = 255  # in images with a palette
MOST_IDS = 10_000

Masks = Mapping[Path, tuple[str, str]]  # each file's class, and its name in messages
Pair = tuple[Path, Masks]  # an image and its masks
Reader = Callable[[Masks, tuple[int, int], Options, list[Issue]], list[AnnotatedObject]]


def read(source: Path, options: Options) -> Annotations:
    """The images of a folder in one of the layouts.

    Raises:
        InputError: the layout is another, a mask's size differs from its image's, or a file is no
            mask.
    """
    issues: list[Issue] = []
    samples = sample_folders(source)
    if samples:
        pairs = [pair for folder in samples for pair in sample_pair(folder, options, issues)]
        return read_all(source, pairs, read_sample, options, issues)
    folders = split_folders(source, options)
    if folders is None:
        raise InputError(
            f"{source}: no masks found; expected ID/masks/ for each image, or one mask NAME.png "
            "or NAME_mask.png for each image: beside it, in masks/ beside images/, or here with "
            "--images DIR for the images"
        )
    label = options.class_name or DEFAULT_CLASS
    ids = [(image, {file: (label, file.name)}) for image, file in pair(*folders, issues)]
    return read_all(source, ids, read_ids, options, issues)


def read_all(
    source: Path, pairs: Sequence[Pair], reader: Reader, options: Options, issues: list[Issue]
) -> Annotations:
    """Every image with its masks, turned upright if they are of the image as it is stored.

    An image that cannot be read together with all of its masks is left out.

    Raises:
        InputError: every image is left out.
    """
    problems: list[InputError] = []
    known: list[Pair] = []
    canvases: list[Canvas] = []
    for image, masks in pairs:
        try:
            corner = max(map(mask_corner, masks), default=None)
            canvases.append(canvas(image, None, (None, None), corner))
            known.append((image, masks))
        except InputError as problem:
            problems.append(problem)
    images = []
    stored = on_stored(source, canvases, issues)
    for (file, masks), one, turning in zip(known, canvases, stored, strict=True):
        size = one.stored if turning else one.size
        try:
            annotated = AnnotatedImage(file, *size, reader(masks, size, options, issues))
            images.append(upright(annotated, one) if turning else annotated)
        except InputError as problem:
            problems.append(problem)
    if problems and not images:
        raise problems[0]
    issues += map(unreadable, problems)
    return Annotations(images, issues, read=[mask for _, masks in known for mask in masks])


def is_masks(source: Path) -> bool:
    """Whether a folder has one of the layouts."""
    return bool(sample_folders(source)) or split_folders(source, Options()) is not None


def sample_folders(source: Path) -> list[Path]:
    """The folders with one image and `masks/`: those in `source`, or `source` itself."""
    inside = sorted(folder for folder in source.iterdir() if (folder / "masks").is_dir())
    if inside:
        return inside
    if (source / "masks").is_dir() and len(sample_images(source)) == 1:
        (image,), masks = sample_images(source), images_in(source / "masks")
        if [mask.stem for mask in masks] not in [[image.stem + suffix] for suffix in SUFFIXES]:
            return [source]
    return []


def sample_images(folder: Path) -> list[Path]:
    """The images of one sample: in `images/`, or in the folder itself."""
    images = folder / "images"
    return images_in(images if images.is_dir() else folder)


def split_folders(source: Path, options: Options) -> tuple[Path, Path] | None:
    """The folders of the images and of their instance ids; None if no two go together."""
    choices = [(options.images_dir, source)] if options.images_dir else [(source, source)]
    if not options.images_dir:
        choices += [(source / a, source / b) for a in IMAGE_FOLDERS for b in MASK_FOLDERS]
    for images, masks in choices:
        if images.is_dir() and masks.is_dir() and list(pair(images, masks, [])):
            return images, masks
    return None


def pair(images: Path, masks: Path, issues: list[Issue]) -> Iterator[tuple[Path, Path]]:
    """Every image with its file of instance ids; files without a partner go into `issues`."""
    files = {file.stem: file for file in images_in(masks)}
    suffixes = SUFFIXES[1:] if images == masks else SUFFIXES
    candidates = images_in(images)
    if images == masks:  # the mask of another image is not an image
        stems = set(files)
        candidates = [p for p in candidates if not any(is_mask(p.stem, s, stems) for s in suffixes)]
    used = set()
    for image in candidates:
        names = [image.stem + suffix for suffix in suffixes if image.stem + suffix in files]
        if names:
            used.add(names[0])
            yield image, files[names[0]]
        else:
            issues.append(left_out("images without a mask", image.name))
    if images != masks:
        for stem in sorted(set(files) - used):
            issues.append(left_out("masks without an image", files[stem].name))


def is_mask(stem: str, suffix: str, stems: set[str]) -> bool:
    """Whether a file is, by this suffix, the mask of another."""
    return stem.endswith(suffix) and stem.removesuffix(suffix) in stems


def sample_pair(folder: Path, options: Options, issues: list[Issue]) -> list[Pair]:
    """One image and its masks, one file per object, with their classes."""
    images = sample_images(folder)
    if len(images) != 1:
        kind = "folders with masks that do not hold exactly one image"
        issues.append(left_out(kind, folder.name, f"{len(images)} images"))
        return []
    masks = folder / "masks"
    places = {masks: options.class_name or DEFAULT_CLASS}
    places |= {place: place.name for place in sorted(masks.iterdir()) if place.is_dir()}
    files = {
        file: (label, f"{folder.name}/{file.name}")
        for place, label in places.items()
        for file in images_in(place)
    }
    return [(images[0], files)]


def read_sample(
    masks: Masks, size: tuple[int, int], options: Options, issues: list[Issue]
) -> list[AnnotatedObject]:
    """The objects of one image, one file each."""
    objects = []
    for file, (label, where) in masks.items():
        values = read_values(file, size)
        inside = values > values.max() // 2
        for rle in pieces(inside) if options.split else [encode(inside)]:
            objects.append(AnnotatedObject(label, rle, where))
    return objects


def read_ids(
    masks: Masks, size: tuple[int, int], options: Options, issues: list[Issue]
) -> list[AnnotatedObject]:
    """The objects of one image, from one file of instance ids."""
    ((file, (label, name)),) = masks.items()
    values = read_values(file, size)
    objects = []
    for value, rle in instances(file, values).items():
        where = f"{name} value {value}"
        if options.split:
            parts = pieces(values == value)
            objects += [AnnotatedObject(label, part, where) for part in parts]
        else:
            objects.append(AnnotatedObject(label, rle, where))
    if len(objects) == 1 and components(values)[1] > 1:
        kind = "masks with one value in several pieces, taken as one object (--split splits them)"
        issues.append(Issue(ODD, kind, name))
    return objects


def mask_corner(file: Path) -> tuple[float, float]:
    """The width and height of a mask as its file stores it."""
    with opened(file) as image:
        return float(image.width), float(image.height)


def read_values(file: Path, size: tuple[int, int]) -> np.ndarray:
    """The values of a mask (H, W), with each colour as one number; 0 means no object.

    Raises:
        InputError: its size is not this (height, width), or it cannot be a mask.
    """
    with opened(file) as image:
        if image.format not in LOSSLESS:
            raise InputError(f"{file}: masks in {image.format} are blurred; expected PNG or TIFF")
        if image.size != size[::-1]:
            raise InputError(
                f"{file}: the mask is {image.width} x {image.height}, its image {size[1]} x "
                f"{size[0]}"
            )
        if image.mode in ("F", "CMYK", "YCbCr", "LAB"):
            raise InputError(f"{file}: expected whole numbers, palette or RGB, got {image.mode}")
        values = np.asarray(image)
        if image.mode == "P":
            return np.where(values == BORDER, 0, values)
    if values.ndim == 2:
        return values.astype(np.uint8) if values.dtype == bool else values
    colours = values[:, :, : 3 if values.shape[2] >= 3 else 1].astype(np.int64)
    return colours @ (256 ** np.arange(colours.shape[2]))


def instances(file: Path, values: np.ndarray) -> dict[int, dict]:
    """The RLE of every value but 0, in ascending order.

    COCO's runs go down the columns, so one pass over the mask gives the runs of all values.
    """
    height, width = values.shape
    flat = values.T.ravel()
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    ends = np.append(starts[1:], flat.size)
    owners = flat[starts]
    ids, first = np.unique(owners, return_inverse=True)
    if len(ids) > MOST_IDS:
        raise InputError(f"{file}: {len(ids)} different values, expected one for each object")
    result = {}
    for number, value in enumerate(ids.tolist()):
        if value == 0:
            continue
        own = np.flatnonzero(first == number)
        edges = np.stack([starts[own], ends[own]], axis=1).ravel()  # begin, end, begin, end, ...
        counts = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
        rle = {"size": [height, width], "counts": counts}
        result[int(value)] = as_text(rle_tools.frPyObjects(rle, height, width))
    return result


def pieces(mask: np.ndarray) -> list[dict]:
    """The RLE of every connected piece of a mask (H, W); corners connect."""
    return list(instances(Path(), components(mask)[0]).values())


def components(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """The connected pieces of what is not zero, numbered from 1, and how many there are."""
    from scipy import ndimage  # late: it is slow to load

    return ndimage.label(mask, np.ones((3, 3)))


def encode(mask: np.ndarray) -> dict:
    """The RLE of a mask (H, W) bool."""
    return as_text(rle_tools.encode(np.asfortranarray(mask, np.uint8)))
