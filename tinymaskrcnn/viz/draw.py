"""Draw instances on images: translucent masks with crisp contours, boxes and readable labels; and
arrange images in sheets.

Everything takes and returns PIL images or arrays in memory; the caller saves. Small images are
enlarged by a whole factor, and masks are drawn at the enlarged size, so that contours are smooth
and text can be read.

Not here: curves (viz/curves.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..detection.cropped_masks import CroppedMasks
from ..detection.detections import Detections
from ..errors import printable
from . import colours
from .colours import Colour, rgb

COLOURS = tuple(map(rgb, colours.OBJECTS))
SHORT_SIDE = 384  # smaller images are enlarged up to this
LONG_SIDE = 4096  # but never beyond this: an image may be one pixel high
FILL = 0.38  # opacity of a mask
PAIR = 820  # pixels; the longer side of truth and prediction on a sheet of many
TAGGED = 400  # with more objects than this, none has a caption
HIDDEN = 0.34  # share of a box that a caption may cover
WIDEST = 0.2  # share of a clip's width that a caption may take
PAPER, INK = rgb(colours.PAPER), rgb(colours.INK)
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class _Instance:
    """One object on the enlarged image.

    Its mask (h, w) bool covers the pixels from (left, top). The first caption that fits is shown.
    """

    box: Box
    mask: np.ndarray
    left: int
    top: int
    captions: tuple[str, ...]
    colour: Colour


def draw_detections(
    image: np.ndarray,
    detections: Detections,
    classes: Sequence[str],
    score_threshold: float = 0.5,
) -> Image.Image:
    """Draw detections on an image. Captions that would hide other objects are shortened to the
    score, or left out.

    Args:
        image: (C, H, W) float32 in 0..1, or (H, W, 3) or (H, W) uint8. One channel is shown as
            grey; of more than three channels, the first three are shown.
        classes: label k is called classes[k - 1].
        score_threshold: detections with lower scores are left out.
    """
    scale = enlargement(_size(image))
    shown = detections[detections.scores >= score_threshold]
    masks = shown.cropped_masks(enlarge=scale)
    instances = [
        _Instance(
            _scaled(shown.boxes[i], scale),
            masks.crops[i],
            int(masks.corners[i, 1]),
            int(masks.corners[i, 0]),
            (
                f"{_class_name(classes, shown.labels[i])} {shown.scores[i]:.2f}",
                f"{shown.scores[i]:.2f}",
            ),
            COLOURS[i % len(COLOURS)],
        )
        for i in reversed(range(len(shown)))  # highest scores on top
    ]
    return _draw(enlarged(image, scale), instances)


def draw_tracks(
    image: np.ndarray, detections: Detections, numbers: np.ndarray | None, classes: Sequence[str]
) -> Image.Image:
    """Draw the detections of a clip's frame, in its size. Colours and captions stay with an object
    from frame to frame, so there are no scores, which would flicker.

    Args:
        image: (H, W, 3) uint8.
        numbers: (N,) of the detections' objects, from 1; None: colours are those of the classes.
        classes: label k is called classes[k - 1].
    """
    keys = detections.labels if numbers is None else numbers
    masks = detections.cropped_masks()
    instances = [
        _Instance(
            box := _scaled(detections.boxes[i], 1),
            masks.crops[i],
            int(masks.corners[i, 1]),
            int(masks.corners[i, 0]),
            _track_captions(
                _class_name(classes, detections.labels[i]) if len(classes) > 1 else "",
                "" if numbers is None else str(numbers[i]),
                max(box[2] - box[0], WIDEST * image.shape[1]),
                _text_height(image.shape[:2]),
            ),
            COLOURS[(keys[i] - 1) % len(COLOURS)],
        )
        for i in np.argsort(-keys, kind="stable").tolist()  # always the same ones on top
    ]
    return _draw(Image.fromarray(image), instances, outlines=False)


def _track_captions(name: str, number: str, room: float, height: int) -> tuple[str, ...]:
    """What may stand at an object of a clip: name and number where there is room, or the number."""
    captions = tuple(filter(None, dict.fromkeys([f"{name} {number}".strip(), number])))
    return tuple(c for c in captions if c == number or _tag_size(c, height)[0] <= room)


def draw_target(image: np.ndarray, target: dict[str, Any], classes: Sequence[str]) -> Image.Image:
    """Draw ground truth on an image: a target's boxes, labels and masks.

    Args:
        image, classes: as for draw_detections.
        target: boxes (G, 4), labels (G,), masks (G, H, W).
    """
    scale = enlargement(_size(image))
    return draw_objects(
        enlarged(image, scale),
        target["boxes"] * np.float32(scale),
        CroppedMasks.of(target["masks"]).enlarged(scale),
        [_class_name(classes, label) for label in target["labels"]],
        [COLOURS[i % len(COLOURS)] for i in range(len(target["labels"]))],
    )


def draw_objects(
    image: Image.Image,
    boxes: np.ndarray,
    masks: Any,
    captions: Sequence[str],
    colours: Sequence[Colour],
) -> Image.Image:
    """Draw objects on an image.

    Args:
        boxes: (G, 4) in the image's pixels.
        masks: (G, h, w), CroppedMasks or an array.
        captions: "" for none.
    """
    objects = zip(boxes, CroppedMasks.of(masks).with_border(), captions, colours, strict=True)
    return _draw(
        image,
        [
            _Instance(_scaled(box, 1), mask != 0, left, top, (caption,) if caption else (), colour)
            for box, (mask, top, left), caption, colour in objects
        ],
    )


def side_by_side(truth: Image.Image, prediction: Image.Image) -> Image.Image:
    """Two images of the same size, titled "truth" and "prediction"."""
    both = [titled(truth, "truth"), titled(prediction, "prediction")]
    return contact_sheet(both, columns=2, margin=2)


def contact_sheet(
    images: Sequence[Image.Image], columns: int = 4, margin: int = 12, largest: int | None = None
) -> Image.Image:
    """Images in rows on white; each cell has the size of the largest.

    Args:
        largest: shrinks images whose longer side has more pixels.
    """
    if not images:
        return Image.new("RGB", (1, 1), PAPER)
    if largest is not None:
        images = [image.copy() for image in images]
        for image in images:
            image.thumbnail((largest, largest))
    columns = min(columns, len(images))
    width, height = (max(image.size[axis] for image in images) for axis in (0, 1))
    rows = -(-len(images) // columns)
    size = (columns * (width + margin) + margin, rows * (height + margin) + margin)
    sheet = Image.new("RGB", size, PAPER)
    for i, image in enumerate(images):
        row, column = divmod(i, columns)
        place = (margin + column * (width + margin), margin + row * (height + margin))
        sheet.paste(image, place)
    return sheet


def titled(image: Image.Image, title: str) -> Image.Image:
    """The image with a line of text above it, on white."""
    font = text_font(max(14, image.height // 24))
    _, top, _, bottom = font.getbbox("Ag")
    band = int((bottom + top) * 1.15)
    out = Image.new("RGB", (image.width, image.height + band), PAPER)
    ImageDraw.Draw(out).text((4, band / 2), printable(title), INK, font, anchor="lm")
    out.paste(image, (0, band))
    return out


def enlargement(size: tuple[int, ...]) -> int:
    """The factor by which an image of this height and width is enlarged; 1 for large ones."""
    return max(1, min(SHORT_SIDE // max(1, min(size)), LONG_SIDE // max(1, *size)))


def enlarged(image: np.ndarray, scale: int) -> Image.Image:
    """An array as a PIL image, enlarged `scale` times.

    Args:
        image: (C, H, W) float in 0..1, or (H, W, 3) or (H, W) uint8.
    """
    if image.dtype != np.uint8:
        image = as_bytes(image[:3] if len(image) >= 3 else image[[0, 0, 0]])
    drawn = Image.fromarray(image)
    if scale == 1:
        return drawn
    return drawn.resize((drawn.width * scale, drawn.height * scale), Image.Resampling.BICUBIC)


def as_bytes(image: np.ndarray) -> np.ndarray:
    """An image (3, H, W) in 0..1 as (H, W, 3) uint8, in blocks of rows: it may be large."""
    _, height, width = image.shape
    out = np.empty((height, width, 3), np.uint8)
    rows = max(1, (1 << 20) // width)
    for top in range(0, height, rows):
        strip = np.clip(np.nan_to_num(image[:, top : top + rows]), 0, 1)
        out[top : top + rows] = (strip * 255 + 0.5).transpose(1, 2, 0)
    return out


def _size(image: np.ndarray) -> tuple[int, ...]:
    """Height and width."""
    return image.shape[:2] if image.dtype == np.uint8 else image.shape[1:]


def _scaled(box: np.ndarray, scale: int) -> Box:
    x1, y1, x2, y2 = (box * scale).tolist()
    return x1, y1, x2, y2


def _draw(image: Image.Image, drawn: Sequence[_Instance], outlines: bool = True) -> Image.Image:
    """Draw masks, then boxes (`outlines`), then labels, so that no label is covered. Lines and
    letters suit the image; in a still, which has outlines, they are finer where its objects are
    small.
    """
    image = image.convert("RGB")  # a copy
    boxes = np.array([one.box for one in drawn]).reshape(-1, 4)
    sides = np.sqrt(np.maximum(boxes[:, 2:] - boxes[:, :2], 1).prod(axis=1))
    side, usual = (
        min(image.size),
        float(np.median(sides)) if outlines and len(sides) else np.inf,
    )
    thickness = max(1, round(min(side / 200, usual / 12)))
    for instance in drawn:
        _blend(image, instance, thickness)
    draw = ImageDraw.Draw(image)
    width = max(1, round(min(side / 300, usual / 20)))
    for instance in drawn if outlines else ():
        draw.rectangle(instance.box, outline=instance.colour, width=width)
    if len(drawn) > TAGGED:
        return image
    height = max(13, round(min(_text_height(image.size), usual / 2)))
    taken = np.zeros((0, 4))
    for i in reversed(range(len(drawn))):
        taken = _tag(draw, height, drawn[i], image.size, boxes, i, taken)
    return image


def _blend(image: Image.Image, instance: _Instance, thickness: int) -> None:
    """Fill the mask with a translucent colour, and draw its contour in the full one. Only this part
    of the image becomes an array: a large one has no room for two.
    """
    left, top = instance.left, instance.top
    mask = instance.mask[: image.height - top, : image.width - left]
    if not mask.size:
        return
    view = np.array(image.crop((left, top, left + mask.shape[1], top + mask.shape[0])))
    inside = _eroded(mask, thickness)
    for channel, value in enumerate(instance.colour):  # a lookup table: images may be large
        table = (np.arange(256) * (1 - FILL) + value * FILL).astype(np.uint8)
        plane = view[:, :, channel]
        np.copyto(plane, table[plane], where=inside)
    view[_eroded(~mask, 1) ^ ~mask] = INK  # a dark hairline keeps every colour visible
    view[mask & ~inside] = instance.colour
    image.paste(Image.fromarray(view), (left, top))


def _eroded(mask: np.ndarray, pixels: int) -> np.ndarray:
    """The mask without its outermost pixels; at the array's edge it counts as going on."""
    for _ in range(pixels):
        padded = np.pad(mask, 1, mode="edge")
        mask = mask & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask


def _tag(
    draw: ImageDraw.ImageDraw,
    height: int,
    instance: _Instance,
    size: tuple[int, int],
    boxes: np.ndarray,
    own: int,
    taken: np.ndarray,
) -> np.ndarray:
    """Draw the caption on a tag at boxes[own], clear of other boxes and of the `taken` places.

    Returns:
        The places that are taken now.
    """
    font = text_font(height)
    for caption in map(printable, instance.captions):
        place = _free_place(boxes, own, _tag_size(caption, height), size, taken)
        if place is not None:
            draw.rectangle(place, fill=instance.colour)
            ink = INK if _luminance(instance.colour) > 110 else PAPER
            draw.text((place[0] + 4, (place[1] + place[3]) / 2), caption, ink, font, anchor="lm")
            return np.vstack([taken, place])
    return taken


def _text_height(size: tuple[int, ...]) -> int:
    """Of captions on an image of this size, in pixels."""
    return max(13, round(min(size) / 30))


@lru_cache(maxsize=1024)  # a clip has the same ones again and again
def _tag_size(caption: str, height: int) -> tuple[float, float]:
    """Width and height of a tag for text of this height."""
    _, top, right, bottom = text_font(height).getbbox(caption)
    return right + 8, bottom + top


def _free_place(
    boxes: np.ndarray, own: int, tag: tuple[float, float], size: tuple[int, int], taken: np.ndarray
) -> Box | None:
    """Find a place for a tag above, inside, below or right of boxes[own], moved into the image.

    Places that hide another tag or much of any box are out. The best need not be moved up or down;
    next best lies beside the box. None if every place hides something.
    """
    left, top, right, bottom = boxes[own].tolist()
    width, height = tag
    beside = right - width
    corners = [(left, top - height), (left, top), (left, bottom)]
    corners += [(beside, top - height), (beside, bottom), (right, top)]
    inside = [_inside(corner, tag, size) for corner in corners]
    places = [(x, y, x + width, y + height) for x, y in inside]
    hidden = _covered(boxes, places) > HIDDEN
    on_itself = hidden[own].tolist()
    hidden[own] = False
    clear = ~(hidden.any(axis=0) | _covered(taken, places).any(axis=0))
    free = [
        (on_itself[i], places[i][1] != corners[i][1], places[i])
        for i in np.flatnonzero(clear).tolist()
    ]
    return min(free, key=lambda one: one[:2])[2] if free else None


def _covered(boxes: np.ndarray, places: Sequence[Box]) -> np.ndarray:
    """The share of each box (n, 4) that lies under each of m places: (n, m)."""
    over = np.array(places)
    overlap = np.minimum(boxes[:, None, 2:], over[:, 2:])
    overlap -= np.maximum(boxes[:, None, :2], over[:, :2])
    area = np.maximum(boxes[:, 2:] - boxes[:, :2], 1).prod(axis=1)
    return np.maximum(overlap, 0).prod(axis=2) / area[:, None]


def _inside(
    corner: tuple[float, float], tag: tuple[float, float], size: tuple[int, int]
) -> tuple[float, float]:
    """The corner, moved so that a tag of this size lies inside the image."""
    x, y = (max(0.0, min(c, side - t)) for c, t, side in zip(corner, tag, size, strict=True))
    return x, y


def _luminance(colour: Colour) -> float:
    red, green, blue = colour
    return 0.299 * red + 0.587 * green + 0.114 * blue


def _class_name(classes: Sequence[str], label: int) -> str:
    return classes[label - 1] if 0 < label <= len(classes) else f"class {label}"


@lru_cache(maxsize=16)
def text_font(size: int) -> Any:
    """The font of all figures, at this height in pixels."""
    return ImageFont.load_default(size)
