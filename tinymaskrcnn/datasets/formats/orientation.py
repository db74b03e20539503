"""Outlines of photos that their EXIF orientation turns: some tools draw on the stored image, others
on the upright one, and some of the latter state the size of the stored one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ... import rle_tools
from ...errors import InputError
from ..coco_objects import OUTSIDE
from ..images import SWAPPED, UPRIGHT, image_size, orientation_of
from ..issues import EXAMPLES, ODD, Issue, brief
from ..run_lengths import as_text
from .annotations import AnnotatedImage

Size = tuple[int, int]
EITHER_WAY = "photos with an EXIF orientation whose outlines fit either way, taken as upright"
TURNED = "photos whose outlines were turned upright, as their EXIF orientation says"
SIZES = "photos whose stated size ignores their EXIF orientation, corrected"


@dataclass(frozen=True)
class Canvas:
    """An image that outlines may have been drawn on, stored or upright.

    Attributes:
        name: the image's name in messages.
        size: its height and width as it is read, upright.
        orientation: the EXIF tag; 1 if the image is stored upright.
        stated: the height and width that the source gives.
        corner: how far right and down the outlines reach; None if there are none.
    """

    name: str
    size: Size
    orientation: int = 1
    stated: Size | None = None
    corner: tuple[float, float] | None = None

    @property
    def stored(self) -> Size:
        """Height and width before the image is turned."""
        return self.size[::-1] if self.orientation in SWAPPED else self.size

    @property
    def misstated(self) -> bool:
        """Whether the source states the stored image's size although the upright one's differs."""
        return self.stated == self.stored != self.size

    def is_stored(self) -> bool | None:
        """Whether the outlines are on the stored image; None if this is unclear."""
        if self.orientation == 1 or (self.stated == self.size != self.stored):
            return False
        upright, stored = self._holds(self.size), self._holds(self.stored)
        return None if upright == stored else stored

    def _holds(self, size: Size) -> bool:
        """Whether the outlines lie inside an image of this height and width."""
        x, y = self.corner or (0.0, 0.0)
        return x <= size[1] + OUTSIDE and y <= size[0] + OUTSIDE


def canvas(
    file: Path, content: bytes | None, stated: Sequence[Any], corner: tuple[float, float] | None
) -> Canvas:
    """An image's canvas; a `stated` size that contains None counts as missing.

    Raises:
        InputError: the image cannot be read.
    """
    size, turn = image_size(file, content), orientation_of(file, content)
    known = None if None in stated else (stated[0], stated[1])
    return Canvas(str(file), size, turn, known, corner)


def on_stored(source: Path, canvases: Sequence[Canvas], issues: list[Issue]) -> list[bool]:
    """For each image, whether its outlines are on the stored image. Where one image leaves it open,
    the others of the same source decide.

    Raises:
        InputError: a stated size is neither the upright nor the stored image's, or the images leave
            it open although a size is the stored one's.
    """
    for one in canvases:
        if one.stated is not None and one.stated not in (one.size, one.stored):
            raise InputError(
                f"{source}: the image {one.name} is {one.size[1]} x {one.size[0]}, but the "
                f"annotations say {' x '.join(map(brief, one.stated[::-1]))}"
            )
    answers = [one.is_stored() for one in canvases]
    turning = [i for i, one in enumerate(canvases) if one.orientation != 1]
    evidence = {answers[i] for i in turning} - {None}
    usual = evidence.pop() if len(evidence) == 1 else None
    unclear = [canvases[i] for i in turning if answers[i] is None and canvases[i].corner]
    refused = [one for one in unclear if evidence or one.misstated]
    if usual is None and refused:
        names = ", ".join(one.name for one in refused[:EXAMPLES])
        raise InputError(
            f"{source}: the outlines do not tell whether they are on the photo before or after its "
            f"EXIF orientation turns it ({len(refused)}): {names}; store it upright"
        )
    answers = [usual if answer is None else answer for answer in answers]
    kinds = [(EITHER_WAY, unclear if usual is None else [])]
    kinds += [(TURNED, [canvases[i] for i in turning if answers[i]])]
    kinds += [(SIZES, [canvases[i] for i in turning if not answers[i] and canvases[i].misstated])]
    issues += [Issue(ODD, kind, one.name) for kind, some in kinds for one in some]
    return [bool(answer) for answer in answers]


def on_upright(
    source: Path,
    images: Sequence[AnnotatedImage],
    canvases: Sequence[Canvas],
    issues: list[Issue],
) -> list[AnnotatedImage]:
    """The images; outlines on stored images, as `on_stored` decides, are turned upright."""
    turning = on_stored(source, canvases, issues)
    return [
        upright(image, one) if stored else image
        for image, one, stored in zip(images, canvases, turning, strict=True)
    ]


def corner_of(polygons: Iterable[Sequence[float]]) -> tuple[float, float] | None:
    """How far right and down polygons x, y, x, y, ... reach; None if there are none."""
    corners = [(max(p[0::2]), max(p[1::2])) for p in polygons if len(p) > 1]
    return (max(x for x, _ in corners), max(y for _, y in corners)) if corners else None


def upright(image: AnnotatedImage, canvas: Canvas) -> AnnotatedImage:
    """An image with the outlines of the stored one, turned upright."""
    objects = [
        replace(thing, segmentation=turned(thing.segmentation, canvas.stored, canvas.orientation))
        for thing in image.objects
    ]
    return replace(image, height=canvas.size[0], width=canvas.size[1], objects=objects)


def turned(segmentation: Any, size: Size, orientation: int) -> Any:
    """Polygons or RLE of a stored image (height, width), turned upright."""
    if orientation not in UPRIGHT:
        return segmentation
    if isinstance(segmentation, dict):
        mask = turned_mask(rle_tools.decode(segmentation), orientation)
        return as_text(rle_tools.encode(np.asfortranarray(mask)))
    return [turned_points(polygon, size, orientation) for polygon in segmentation]


def turned_mask(mask: np.ndarray, orientation: int) -> np.ndarray:
    """An array (H, W) of a stored image, turned upright."""
    method = UPRIGHT.get(orientation)
    return mask if method is None else np.asarray(Image.fromarray(mask).transpose(method))


def turned_points(polygon: Sequence[float], size: Size, orientation: int) -> list[float]:
    """One polygon x, y, x, y, ... of a stored image (height, width), turned upright."""
    height, width = size
    x, y = np.array(polygon, float).reshape(-1, 2).T
    right, down = {
        2: (width - x, y),
        3: (width - x, height - y),
        4: (x, height - y),
        5: (y, x),
        6: (height - y, x),
        7: (height - y, width - x),
        8: (y, width - x),
    }[orientation]
    return [round(number, 6) for number in np.stack([right, down], 1).ravel().tolist()]
