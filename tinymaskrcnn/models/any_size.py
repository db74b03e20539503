"""Find objects in an image of any size: whole, or in tiles where it is large.

A large image is resized tile by tile, so that memory does not grow with it, and the results are
those of the whole image (detection/tiles.py says how).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .. import memory
from ..bars import tqdm
from ..detection.boxes import Size
from ..detection.detections import Detections
from ..detection.tiles import STEP, Tile, cut, detect_in_tiles, suppression
from ..errors import InputError
from ..gpu import array as gpu_array
from ..ops.resize_normalize.op import resize_normalize, window
from .mask_rcnn import MaskRCNN
from .transform import ImageBatch

SIDE = 768  # pixels of the resized image: the side of a tile
WHOLE = 1536  # an image of no more pixels than a square of this side is not cut
CONTEXT = 64  # pixels beyond an object that its detection depends on noticeably
SHRUNK = 2.0  # from here on it is worth a word
CUT = "objects larger than a tile may be in pieces, --scale X or --tile N shows them whole"
FULL_TILES = "tiles at their limit of objects, --max-objects N raises it"
TOO_SMALL = "small objects may be lost, --scale X or --tile N shows them larger"
FULL = "at the limit of objects, --max-objects N raises it"


class AnySize:
    """A model that looks at each image as `view_of` says; for `evaluate` and the like."""

    def __init__(self, model: MaskRCNN, tile: int | None = None, most: int | None = None) -> None:
        self.model, self.tile, self.most = model, tile, most

    def view(self, image_size: Size) -> View:
        return view_of(self.model, image_size, self.tile, self.most)

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """Find objects in each image on its own; see `detect_in`."""
        sizes = [(image.shape[1], image.shape[2]) for image in images]
        return [
            detect_in(self.model, image, self.view(size))
            for image, size in zip(images, sizes, strict=True)
        ]


@dataclass(frozen=True)
class View:
    """How a model is shown an image.

    Args:
        image_size, size: height and width of the image, and after resizing.
        tiles: that it is cut into; none if it is shown whole. limit: of detections.
        full: the lowest score in each tile in which as many objects were found as its limit is.
        in_pieces: the best score of each object that is too large for any tile.
    """

    image_size: Size
    size: Size
    tiles: list[Tile]
    limit: int
    full: list[float] = field(default_factory=list, compare=False)
    in_pieces: list[float] = field(default_factory=list, compare=False)

    @property
    def scale(self) -> float:
        """Input pixels per image pixel."""
        return max(self.size) / max(self.image_size)


def view_of(
    model: MaskRCNN, image_size: Size, tile: int | None = None, most: int | None = None
) -> View:
    """How a model is shown an image of this height and width.

    Args:
        tile: the side of a tile in image pixels; 0 shows the image whole. By default an image is
            cut if it has more than WHOLE x WHOLE pixels after resizing. A model without a `scale`
            sees each tile of a given side at the size at which it sees images.
        most: the limit of detections; by default it grows with the image (`Transform.room`).
    """
    transform = model.transform
    scale = transform.config.scale
    if tile and scale is None:
        scale = max(transform.resized_size((tile, tile))) / tile
    size = transform.resized_size(image_size)
    if scale is not None:
        size = (max(round(image_size[0] * scale), 1), max(round(image_size[1] * scale), 1))
    side = SIDE if tile is None else round(tile * (scale or 1.0))
    large = math.prod(size) > WHOLE**2 if tile is None else max(size) > side
    tiles = cut(size, side, min(_margin(model), side // 4)) if tile != 0 and large else []
    room = transform.room([size])
    return View(image_size, size, tiles, model.roi_heads.limit(room) if most is None else most)


def _margin(model: MaskRCNN) -> int:
    """How far a tile reaches beyond its core: the context of an object and half of a large one.
    Still larger ones get a second look.
    """
    config, anchors = model.transform.config, model.rpn.anchor_generator.sizes
    large = anchors[len(anchors) // 2][0]
    if config.scale is not None and config.object_sizes is not None:
        large = config.object_sizes[2] * config.scale
    return CONTEXT + math.ceil(large / 2)


def lost(model: MaskRCNN, view: View, found: int, score: float = 0.0) -> list[tuple[str, str]]:
    """What keeps a model from finding objects in an image, if anything does: each a kind, with its
    cure, and a detail.

    Args:
        view: after `detect_in`.
        found: how many objects it found, counted above the score that matters.
        score: that score.
    """
    reasons = []
    config, smallest = model.transform.config, min(map(min, model.rpn.anchor_generator.sizes))
    if config.scale is None and view.scale <= 1 / SHRUNK:
        detail = f"shrunk {1 / view.scale:.1f} times, objects under {smallest / view.scale:.0f}"
        reasons.append((TOO_SMALL, f"{detail} pixels are smaller than the smallest anchor"))
    elif config.object_sizes and config.object_sizes[1] * view.scale < smallest / 3:
        usual = config.object_sizes[1]
        detail = f"an object of the usual {usual:.0f} pixels has {usual * view.scale:.1f} after"
        reasons.append((TOO_SMALL, f"{detail} scaling, the smallest anchor {smallest:g}"))
    if found >= view.limit:
        reasons.append((FULL, f"{view.limit} objects"))
    if full := sum(lowest >= score for lowest in view.full):
        reasons.append((FULL_TILES, f"{full} of {len(view.tiles)} tiles"))
    if pieces := sum(best >= score for best in view.in_pieces):
        reasons.append((CUT, f"{pieces} times"))
    return reasons


def limit_objects(model: MaskRCNN, most: int) -> None:
    """Let a model find this many objects per image, of any size; proposals grow in proportion."""
    rpn, roi = model.rpn.config, model.roi_heads.config
    factor = max(most / max(roi.detections_per_img, 1), 1.0)
    model.roi_heads.most = most
    model.rpn.config = replace(
        rpn,
        pre_nms_top_n_test=math.ceil(rpn.pre_nms_top_n_test * factor),
        post_nms_top_n_test=math.ceil(rpn.post_nms_top_n_test * factor),
    )


def detect_in(model: MaskRCNN, image: Any, view: View, progress: bool = False) -> Detections:
    """Find the objects of an image, best first, in the image's pixels.

    Args:
        image: float32 (C, H, W) in 0..1, or a CompactImage (datasets/images.py), of which only
            one tile at a time is made an array.
        view: from `view_of`. progress: whether to show a progress bar over the tiles.

    Raises:
        InputError: the image is not of the size or the channels expected.
    """
    if tuple(image.shape) != (model.in_channels, *view.image_size):
        expected = (model.in_channels, *view.image_size)
        raise InputError(f"image: expected shape {expected}, got {tuple(image.shape)}")
    if not view.tiles:
        (found,) = model.detect([np.asarray(image)])
        return found[: view.limit]
    roi = model.roi_heads.config
    suppress = suppression(roi.nms_thresh, roi.class_agnostic_nms)
    with tqdm(unit="tile", total=len(view.tiles), disable=not progress, leave=False) as bar:

        def look(place: Sequence[int], shrink: int = 1) -> Detections:
            batch = _batch(model, image, view, place, shrink)
            (found,) = model.detect_batch(batch)
            bar.update()
            if len(found) >= model.roi_heads.limit(model.transform.room(batch.sizes)):
                view.full.append(float(found.scores.min(initial=1)))
            x1, y1, x2, y2 = place
            return found if shrink == 1 else model.transform.to_image(found, (y2 - y1, x2 - x1))

        found = detect_in_tiles(look, view.size, view.tiles, suppress, view.in_pieces)
        found = found[: view.limit]
    memory.release()  # what follows, such as drawing a large image, needs memory too
    return model.transform.to_image(replace(found, image_size=view.size), view.image_size)


def _batch(
    model: MaskRCNN, image: Any, view: View, place: Sequence[int], shrink: int = 1
) -> ImageBatch:
    """A window x1, y1, x2, y2 of the resized image, ready for the backbone; or of one that is
    shrunk so many times, the sides of which need not be whole multiples.
    """
    left, top, right, bottom = (-(-side // shrink) for side in place)
    height, width = bottom - top, right - left
    resized = [-(-side // shrink) for side in view.size]
    config = model.transform.config
    if config.resize == "pillow":
        raise InputError('tiles need resize="linear", this model has "pillow"; --tile off has none')
    rows, needed_rows = window(view.image_size[0], resized[0], top, height)
    columns, needed_columns = window(view.image_size[1], resized[1], left, width)
    divisor = math.lcm(config.size_divisor, STEP)
    padded = (-(-side // divisor) * divisor for side in (height, width))
    given: Any = np.asarray(image[:, needed_rows, needed_columns], np.float32)
    shape = (1, *padded, len(config.image_mean))
    on_device = model.device == "cuda"
    out: Any = gpu_array.empty(shape) if on_device else np.empty(shape, np.float32)
    given = gpu_array.to_device(given) if on_device else given
    mean, std = config.image_mean, config.image_std
    resize_normalize(given, (height, width), mean, std, out[0], rows, columns)
    return ImageBatch(out, [(height, width)], [(height, width)])
