"""The contact sheet of a data set: its classes, its box sizes against the anchors, what is wrong
with it, and images with their objects in the colours of their classes. What is wrong is red.
"""

from __future__ import annotations

import io
from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from ..detection.cropped_masks import CroppedMasks
from ..errors import printable, reason
from . import colours
from .colours import Colour, rgb
from .draw import COLOURS, INK, PAPER, as_bytes, draw_objects, text_font

COLUMNS, CELL, MARGIN = 4, (384, 288), 16
WIDTH = COLUMNS * (CELL[0] + MARGIN) + MARGIN
RED, AMBER, GREEN, GREY = map(rgb, (colours.WRONG, colours.ODD, colours.FINE, colours.QUIET))
FRAME = (245, 245, 245)
LINE = 24  # height of a line of text


@dataclass(frozen=True)
class Cell:
    """One image of the sheet.

    Attributes:
        image: (3, H, W) float32 in 0..1.
        boxes, labels, masks: (G, 4), (G,) and (G, H, W), an array or CroppedMasks.
        wrong: maps the index of each object with an issue to a few words on it.
        unusable: boxes of objects that are left out, and why.
        note: what is wrong with the image itself.
    """

    name: str
    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    masks: Any
    wrong: Mapping[int, str]
    unusable: Sequence[tuple[Sequence[float], str]]
    note: str = ""


@dataclass(frozen=True)
class Summary:
    """What stands above the images.

    Attributes:
        counts: objects per class, in label order.
        findings: (whether it is an error, line).
        sides: (G,) square root of each box's area, in the model's pixels.
        anchors: the model's anchor sizes.
        per_image: (N,) objects in each image.
        mask_sides: (M,) square root of each mask's area, in the images' own pixels.
        overlaps: (G,) IoU of each box with its best anchor.
    """

    title: str
    subtitle: str
    counts: Mapping[str, int]
    findings: Sequence[tuple[bool, str]]
    sides: np.ndarray
    anchors: Sequence[float]
    per_image: np.ndarray = field(default_factory=lambda: np.zeros(0))
    mask_sides: np.ndarray = field(default_factory=lambda: np.zeros(0))
    overlaps: np.ndarray = field(default_factory=lambda: np.zeros(0))


def data_sheet(summary: Summary, cells: Sequence[Cell]) -> Image.Image:
    """The whole sheet, `WIDTH` pixels wide."""
    parts = [_heading(summary), _charts(summary), _findings(summary.findings)]
    parts += [_row(cells[start : start + COLUMNS]) for start in range(0, len(cells), COLUMNS)]
    sheet = Image.new("RGB", (WIDTH, sum(part.height for part in parts) + MARGIN), PAPER)
    top = 0
    for part in parts:
        sheet.paste(part, (0, top))
        top += part.height
    return sheet


def class_colour(label: int) -> Colour:
    """The colour of label 1, 2, ..."""
    return COLOURS[(label - 1) % len(COLOURS)]


def fitted(text: str, width: float, font: Any) -> str:
    """The text, shortened in the middle to this width in pixels."""
    text = printable(text)
    if font.getlength(text) <= width:
        return text

    def cut(kept: int) -> str:
        return text[: kept // 2] + "…" + text[-(kept // 2) :]

    fitting = bisect(range(3, len(text)), width, key=lambda kept: font.getlength(cut(kept)))
    return cut(2 + fitting)


def _heading(summary: Summary) -> Image.Image:
    part = Image.new("RGB", (WIDTH, 84), PAPER)
    draw = ImageDraw.Draw(part)
    large, small = text_font(30), text_font(18)
    draw.text((MARGIN, 18), fitted(summary.title, WIDTH - 2 * MARGIN, large), INK, large)
    draw.text((MARGIN, 56), fitted(summary.subtitle, WIDTH - 2 * MARGIN, small), GREY, small)
    return part


def _charts(summary: Summary) -> Image.Image:
    """Classes and box sizes; below, if the set has objects: objects per image, mask sizes, and how
    well the anchors cover the boxes. Without matplotlib, a line that says so.
    """
    try:  # late, and without pyplot: no window, no global state
        from matplotlib.figure import Figure
    except ModuleNotFoundError as problem:
        return _findings([(False, f"no charts: {reason(problem)}")])

    from . import dataset_figures

    rows = 2 if len(summary.mask_sides) else 1
    figure = Figure(figsize=(WIDTH / 100, 2.7 * rows), dpi=100, layout="constrained")
    parts: Any = [figure] if rows == 1 else figure.subfigures(2, 1)
    left, right = parts[0].subplots(1, 2, width_ratios=[1, 1.6])
    dataset_figures.class_histogram(summary.counts, left)
    dataset_figures.box_sizes(summary.sides, summary.anchors, right)
    if rows == 2:
        left, middle, right = parts[1].subplots(1, 3)
        dataset_figures.objects_per_image(summary.per_image, left)
        dataset_figures.mask_sizes(summary.mask_sides, middle)
        dataset_figures.anchor_coverage(summary.overlaps, right)
    buffer = io.BytesIO()
    figure.savefig(buffer, metadata={"Software": None})
    with Image.open(buffer) as image:
        return image.convert("RGB")


def _findings(findings: Sequence[tuple[bool, str]]) -> Image.Image:
    """One line per finding; a green one if there are none."""
    lines = findings or [(False, "nothing wrong was found")]
    part = Image.new("RGB", (WIDTH, len(lines) * LINE + MARGIN), PAPER)
    draw, font = ImageDraw.Draw(part), text_font(16)
    for number, (is_error, line) in enumerate(lines):
        colour = (RED if is_error else AMBER) if findings else GREEN
        middle = 8 + number * LINE + LINE / 2
        draw.ellipse((MARGIN, middle - 5, MARGIN + 10, middle + 5), fill=colour)
        text = fitted(line, WIDTH - 3 * MARGIN - 18, font)
        draw.text((MARGIN + 20, middle), text, INK, font, anchor="lm")
    return part


def _row(cells: Sequence[Cell]) -> Image.Image:
    """Up to four images side by side."""
    drawn = [_cell(cell) for cell in cells]
    part = Image.new("RGB", (WIDTH, max(cell.height for cell in drawn) + MARGIN), PAPER)
    for number, cell in enumerate(drawn):
        part.paste(cell, (MARGIN + number * (CELL[0] + MARGIN), MARGIN // 2))
    return part


def _cell(cell: Cell) -> Image.Image:
    """A framed image, with its name and what is wrong below it."""
    wrong = [cell.note, *cell.wrong.values(), *(why for _, why in cell.unusable)]
    lines = [part for part in dict.fromkeys(wrong) if part]
    out = Image.new("RGB", (CELL[0], CELL[1] + LINE * (1 + len(lines))), PAPER)
    draw, font = ImageDraw.Draw(out), text_font(15)
    draw.rectangle((0, 0, CELL[0] - 1, CELL[1] - 1), fill=FRAME)
    shown = _thumbnail(cell)
    out.paste(shown, ((CELL[0] - shown.width) // 2, (CELL[1] - shown.height) // 2))
    count = len(cell.boxes)
    tail = f"   {count} object{'' if count == 1 else 's'}"
    name = fitted(cell.name, CELL[0] - font.getlength(tail), font)
    draw.text((0, CELL[1] + LINE / 2), name, INK, font, anchor="lm")
    draw.text((CELL[0], CELL[1] + LINE / 2), tail, GREY, font, anchor="rm")
    for number, line in enumerate(lines, start=1):
        place = (0, CELL[1] + LINE * (number + 0.5))
        draw.text(place, fitted(line, CELL[0], font), RED, font, anchor="lm")
    return out


def _thumbnail(cell: Cell) -> Image.Image:
    """The image as large as its cell allows, with its objects."""
    _, height, width = cell.image.shape
    scale = min(CELL[0] / width, CELL[1] / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    image = Image.fromarray(as_bytes(cell.image)).resize(size, Image.Resampling.LANCZOS)
    rows = ((np.arange(size[1]) + 0.5) * height / size[1]).astype(np.int64)
    columns = ((np.arange(size[0]) + 0.5) * width / size[0]).astype(np.int64)
    masks = CroppedMasks.of(cell.masks).resampled(rows, columns)
    boxes = np.reshape(cell.boxes, (-1, 4)) * np.float32(scale)
    own = [class_colour(int(label)) for label in cell.labels]
    for index in cell.wrong:
        own[index] = RED
    order = sorted(range(len(masks)), key=lambda index: index in cell.wrong)  # issues on top
    drawn = draw_objects(
        image,
        boxes[order],
        masks[order],
        [""] * len(order),
        [own[i] for i in order],
    )
    draw = ImageDraw.Draw(drawn)
    for index in cell.wrong:
        draw.rectangle(boxes[index].tolist(), outline=RED, width=3)
    for box, _ in cell.unusable:
        _crossed(draw, [float(side) * scale for side in box], size)
    return drawn


def _crossed(draw: ImageDraw.ImageDraw, box: list[float], size: tuple[int, int]) -> None:
    """A crossed-out box, moved to the image's border if it lies outside."""
    x1, y1, x2, y2 = (
        min(max(value, 1.0), side - 2.0) for value, side in zip(box, size * 2, strict=True)
    )
    x1, x2, y1, y2 = min(x1, x2), max(x1, x2), min(y1, y2), max(y1, y2)
    draw.rectangle((x1, y1, x2, y2), outline=RED, width=3)
    draw.line((x1, y1, x2, y2), RED, 2)
    draw.line((x1, y2, x2, y1), RED, 2)
