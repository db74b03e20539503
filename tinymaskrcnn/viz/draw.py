"""Instances drawn on pictures: translucent masks with crisp contours, boxes, readable labels; and
sheets of pictures.

Everything takes and gives PIL pictures or arrays in memory; the caller saves. Small pictures are
enlarged by a whole factor, and masks are drawn at the enlarged size, so that contours are smooth
and text can be read.

Not here: curves (viz/curves.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..detection.detections import Detections
from . import colours
from .colours import Colour, rgb

COLOURS = tuple(map(rgb, colours.OBJECTS))
SHORT_SIDE = 384  # pictures below this are enlarged up to it
LONG_SIDE = 4096  # but never beyond this: a picture may be one pixel high
FILL = 0.38  # opacity of a mask
PAPER, INK = rgb(colours.PAPER), rgb(colours.INK)
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class _Instance:
    """One object on the enlarged picture: its mask (h, w) bool covers the pixels from (left, top)
    on.
    """

    box: Box
    mask: np.ndarray
    left: int
    top: int
    caption: str
    colour: Colour


def draw_detections(
    image: np.ndarray,
    detections: Detections,
    classes: Sequence[str],
    score_threshold: float = 0.5,
) -> Image.Image:
    """The picture with what was found in it.

    Args:
        image: (C, H, W) float32 0..1, or (H, W, 3) uint8; of one channel the picture is grey, of
            more than three the first three are shown.
        classes: label k is called classes[k - 1].
        score_threshold: those below are left out.
    """
    scale = enlargement(_size(image))
    shown = detections[detections.scores >= score_threshold]
    instances = (
        _Instance(
            _scaled(shown.boxes[i], scale),
            *_pasted(shown, i, scale),
            f"{_class_name(classes, shown.labels[i])} {shown.scores[i]:.2f}",
            COLOURS[i % len(COLOURS)],
        )
        for i in reversed(range(len(shown)))  # the surest on top
    )
    return _draw(enlarged(image, scale), instances)


def draw_target(image: np.ndarray, target: dict[str, Any], classes: Sequence[str]) -> Image.Image:
    """The picture with its ground truth: a target's boxes, labels and masks.

    Args:
        image, classes: as for draw_detections. target: boxes (G, 4), labels (G,), masks (G, H, W).
    """
    scale = enlargement(_size(image))
    return draw_objects(
        enlarged(image, scale),
        target["boxes"] * np.float32(scale),
        (mask.astype(bool).repeat(scale, 0).repeat(scale, 1) for mask in target["masks"]),
        [_class_name(classes, label) for label in target["labels"]],
        [COLOURS[i % len(COLOURS)] for i in range(len(target["labels"]))],
    )


def draw_objects(
    picture: Image.Image,
    boxes: np.ndarray,
    masks: Iterable[np.ndarray],
    captions: Sequence[str],
    colours: Sequence[Colour],
) -> Image.Image:
    """The picture with objects on it.

    Args:
        boxes: (G, 4) in its pixels. masks: (h, w) bool, one an object. captions: "" for none.
    """
    objects = zip(boxes, masks, captions, colours, strict=True)
    return _draw(
        picture,
        (
            _Instance(_scaled(box, 1), mask, 0, 0, caption, colour)
            for box, mask, caption, colour in objects
        ),
    )


def side_by_side(truth: Image.Image, prediction: Image.Image) -> Image.Image:
    """Two pictures of the same size under the words "truth" and "prediction"."""
    both = [titled(truth, "truth"), titled(prediction, "prediction")]
    return contact_sheet(both, columns=2, margin=2)


def contact_sheet(images: Sequence[Image.Image], columns: int = 4, margin: int = 12) -> Image.Image:
    """Pictures in rows on white; each cell has the size of the largest."""
    if not images:
        return Image.new("RGB", (1, 1), PAPER)
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
    """The picture with a line of text above it, on white."""
    font = text_font(max(14, image.height // 24))
    _, top, _, bottom = font.getbbox("Ag")
    band = int((bottom + top) * 1.15)
    out = Image.new("RGB", (image.width, image.height + band), PAPER)
    ImageDraw.Draw(out).text((4, band / 2), title, INK, font, anchor="lm")
    out.paste(image, (0, band))
    return out


def enlargement(size: tuple[int, ...]) -> int:
    """The factor by which a picture of this height and width is enlarged; 1 for large ones."""
    return max(1, min(SHORT_SIDE // max(1, min(size)), LONG_SIDE // max(1, *size)))


def enlarged(image: np.ndarray, scale: int) -> Image.Image:
    """An array as a PIL picture, `scale` times as large.

    Args:
        image: (C, H, W) float 0..1, or (H, W, 3) uint8.
    """
    if image.dtype != np.uint8:
        image = as_bytes(image[:3] if len(image) >= 3 else image[[0, 0, 0]])
    picture = Image.fromarray(image)
    if scale == 1:
        return picture
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.BICUBIC)


def as_bytes(image: np.ndarray) -> np.ndarray:
    """A picture (3, H, W) in 0..1 as (H, W, 3) uint8, some rows at a time, for it may be large."""
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


def _pasted(detections: Detections, i: int, scale: int) -> tuple[np.ndarray, int, int]:
    """The mask of detection i on the enlarged picture, cut to its box: (mask, left, top)."""
    height, width = (side * scale for side in detections.image_size)
    box = detections.boxes[i] * np.float32(scale)
    spill = (box[2:] - box[:2]) / 28 + 2  # pasting pads the 28x28 grid by one on each side
    left, top = (int(v) for v in np.maximum(box[:2] - spill, 0))
    right, bottom = (int(v) for v in np.minimum(box[2:] + spill, (width, height)))
    corner = np.array([left, top, left, top], np.float32)
    part = replace(
        detections[i : i + 1],
        boxes=(box - corner)[None],
        image_size=(max(bottom - top, 1), max(right - left, 1)),
    )
    return part.binary_masks()[0], left, top


def _draw(picture: Image.Image, instances: Iterable[_Instance]) -> Image.Image:
    """Masks below, then boxes, then labels, so that no label is covered."""
    canvas = np.array(picture.convert("RGB"))
    drawn = []
    for instance in instances:
        _blend(canvas, instance)
        drawn.append(replace(instance, mask=np.empty((0, 0), bool)))
    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    width = max(1, round(min(picture.size) / 300))
    for instance in drawn:
        draw.rectangle(instance.box, outline=instance.colour, width=width)
    taken: list[Box] = []
    for instance in reversed([one for one in drawn if one.caption]):
        _tag(draw, instance, picture.size, taken)
    return picture


def _blend(canvas: np.ndarray, instance: _Instance) -> None:
    """Fill the mask with a translucent colour, and its contour with the full one."""
    mask = instance.mask
    height, width = mask.shape
    view = canvas[instance.top : instance.top + height, instance.left : instance.left + width]
    mask = mask[: view.shape[0], : view.shape[1]]
    thickness = max(1, round(min(canvas.shape[:2]) / 200))
    inside = _eroded(mask, thickness)
    for channel, value in enumerate(instance.colour):  # by table: pictures may be large
        table = (np.arange(256) * (1 - FILL) + value * FILL).astype(np.uint8)
        plane = view[:, :, channel]
        np.copyto(plane, table[plane], where=inside)
    view[_eroded(~mask, 1) ^ ~mask] = INK  # a dark hairline, so that every colour shows on its own
    view[mask & ~inside] = instance.colour


def _eroded(mask: np.ndarray, pixels: int) -> np.ndarray:
    """The mask without its outermost pixels; what lies at the array's edge goes on beyond it."""
    for _ in range(pixels):
        padded = np.pad(mask, 1, mode="edge")
        mask = mask & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask


def _tag(
    draw: ImageDraw.ImageDraw, instance: _Instance, size: tuple[int, int], taken: list[Box]
) -> None:
    """The caption on a filled tag at its box, clear of the `taken` places if it can be."""
    font = text_font(max(13, round(min(size) / 30)))
    _, top, right, bottom = font.getbbox(instance.caption)
    place = _free_place(instance.box, (right + 8, bottom + top), size, taken)
    taken.append(place)
    draw.rectangle(place, fill=instance.colour)
    ink = INK if _luminance(instance.colour) > 110 else PAPER
    middle = (place[0] + 4, (place[1] + place[3]) / 2)
    draw.text(middle, instance.caption, ink, font, anchor="lm")


def _free_place(box: Box, tag: tuple[float, float], size: tuple[int, int], taken: list[Box]) -> Box:
    """Of above, inside, below and right of the box, the first that is in the picture, if need be
    moved sideways, and free; else above, moved into the picture.
    """
    left, top, right, bottom = box
    width, height = tag
    beside = right - width
    corners = [(left, top - height), (left, top), (left, bottom)]
    corners += [(beside, top - height), (beside, bottom), (right, top)]
    places = [(x, y, x + width, y + height) for x, y in (_inside(c, tag, size) for c in corners)]
    wanted = [
        place
        for place, corner in zip(places, corners, strict=True)
        if place[1] == corner[1] and not any(_overlap(place, other) for other in taken)
    ]
    return (wanted or places)[0]


def _inside(
    corner: tuple[float, float], tag: tuple[float, float], size: tuple[int, int]
) -> tuple[float, float]:
    """The corner moved so that a tag of this size there lies within the picture."""
    x, y = (max(0.0, min(c, side - t)) for c, t, side in zip(corner, tag, size, strict=True))
    return x, y


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _luminance(colour: Colour) -> float:
    red, green, blue = colour
    return 0.299 * red + 0.587 * green + 0.114 * blue


def _class_name(classes: Sequence[str], label: int) -> str:
    return classes[label - 1] if 0 < label <= len(classes) else f"class {label}"


def text_font(size: int) -> Any:
    """The font of all figures, at this height in pixels."""
    return ImageFont.load_default(size)
