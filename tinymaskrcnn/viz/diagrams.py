"""Diagrams of small things: boxes on a grid of pixels, tables of numbers as heat maps, curves, and
boxes on pictures in the colours of their roles.

Every function gives a PIL picture; the caller shows or saves it. Not here: instances with masks
(viz/draw.py).
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from .draw import INK, Colour, draw_objects, enlarged, enlargement

GROUND_TRUTH: Colour = (0, 158, 115)
ANCHOR: Colour = (86, 180, 233)
PROPOSAL: Colour = (230, 159, 0)
DETECTION: Colour = (213, 94, 0)
OVERLAP: Colour = (204, 121, 167)

DPI = 110
Group = tuple[np.ndarray, Colour, Sequence[str]]


def boxes_on_picture(image: np.ndarray, *groups: Group) -> Image.Image:
    """A picture, enlarged if it is small, with groups of boxes on it.

    Args:
        image: (C, H, W) float 0..1, or (H, W, 3) uint8.
        groups: boxes (N, 4) in its pixels, their colour, and a caption for each ("" for none).
    """
    height, width = image.shape[:2] if image.dtype == np.uint8 else image.shape[1:]
    scale = enlargement((height, width))
    boxes = np.concatenate([np.reshape(b, (-1, 4)) for b, _, _ in groups]) * scale
    captions = [text for _, _, texts in groups for text in texts]
    colours = [colour for _, colour, texts in groups for _ in texts]
    no_masks = [np.zeros((1, 1), bool)] * len(boxes)
    picture = enlarged(image, scale)
    draw, width = ImageDraw.Draw(picture), max(2, round(min(picture.size) / 140))
    for box, colour in zip(boxes, colours, strict=True):
        frame = box + np.array([-1, -1, 1, 1])
        draw.rectangle(frame.tolist(), outline=INK, width=width + 2)  # every colour on every ground
        draw.rectangle(box.tolist(), outline=colour, width=width)
    return draw_objects(picture, boxes, no_masks, captions, colours)


def boxes_on_grid(
    panels: Sequence[Mapping[str, tuple[Sequence[float], Colour]]],
    titles: Sequence[str],
    shaded: Sequence[Sequence[float] | None] | None = None,
    shade: Colour = OVERLAP,
) -> Image.Image:
    """Boxes on a grid of unit pixels, y downwards, panels next to each other on one scale.

    Args:
        panels: for each, its boxes by name: ((x1, y1, x2, y2), colour). titles: one a panel.
        shaded: a box of each panel that is filled with `shade`, None for none.
    """
    from matplotlib.patches import Rectangle

    every = np.array([box for panel in panels for box, _ in panel.values()], float)
    low, high = np.floor(every[:, :2].min(0)) - 1, np.ceil(every[:, 2:].max(0)) + 1
    across = (high - low)[0] / (high - low)[1]
    figure, axes = _axes(len(panels), min(9.0, 3.4 * len(panels) * max(1.0, across)), across)
    for i, (axis, panel, title) in enumerate(zip(axes, panels, titles, strict=True)):
        if shaded is not None and shaded[i] is not None:
            _add_box(axis, Rectangle, shaded[i], shade, fill=0.55)
        for name, (box, colour) in panel.items():
            _add_box(axis, Rectangle, box, colour, fill=0.12)
            axis.text(box[0] + 0.12, box[1] + 0.12, name, color=_dark(colour), va="top", size=12)
        axis.set_xlim(low[0], high[0])
        axis.set_ylim(high[1], low[1])
        axis.set_xticks(np.arange(low[0], high[0] + 1))
        axis.set_yticks(np.arange(low[1], high[1] + 1))
        axis.set_aspect("equal")
        axis.grid(color="0.88", lw=0.8)
        axis.set_axisbelow(True)
        axis.tick_params(length=0, labelsize=8, colors="0.4")
        _bare(axis)
        axis.set_title(title, size=11)
    return _picture(figure)


def number_tables(
    tables: Mapping[str, np.ndarray],
    form: str = "{:.2f}",
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    numbers: bool = True,
) -> Image.Image:
    """Tables as heat maps next to each other, each cell with its number.

    Args:
        tables: title: array (H, W), or (W,) for one row. form: of the numbers.
        rows, columns: names along the sides. numbers: False leaves the numbers out (large tables).
    """
    arrays = {k: np.atleast_2d(np.asarray(v, float)) for k, v in tables.items()}
    finite = np.concatenate([a[np.isfinite(a)].ravel() for a in arrays.values()] + [np.zeros(1)])
    low, high = finite.min(), max(finite.max(), finite.min() + 1e-9)
    wide, tall = (max(a.shape[side] for a in arrays.values()) for side in (1, 0))
    cell = min(0.62, 9.0 / (wide * len(arrays)))
    margin = 0.35 + 0.07 * max(map(len, rows or [""]))
    width = len(arrays) * (margin + max(cell * wide, 0.08 * max(map(len, arrays)), 1.6))
    figure = _new_figure(width, cell * min(tall, wide * 3) * 0.85 + 0.8)
    axes = figure.subplots(1, len(arrays), squeeze=False)[0]
    for axis, (title, array) in zip(axes, arrays.items(), strict=True):
        axis.imshow(array, cmap="cividis", vmin=low, vmax=high, aspect="auto")
        if numbers:
            _write_numbers(axis, array, form, (low, high))
        names = (columns, rows)
        for side, given, count in zip("xy", names, array.shape[::-1], strict=True):
            ticks: Any = np.arange(count) if given is not None or count <= 12 else []
            axis.set(**{f"{side}ticks": ticks})
            if given is not None:
                axis.set(**{f"{side}ticklabels": given})
                if side == "x" and max(map(len, given)) > 5:
                    axis.tick_params("x", labelrotation=30)
        axis.tick_params(length=0, labelsize=8, colors="0.4")
        _bare(axis)
        axis.set_title(title, size=11)
    return _picture(figure)


def curves(
    lines: Mapping[str, tuple[np.ndarray, np.ndarray]],
    x_label: str,
    y_label: str,
    marks: bool = False,
    log: str = "",
) -> Image.Image:
    """Curves by name in one frame.

    Args:
        lines: name: (x (n,), y (n,)). marks: a dot at each point. log: "x", "y" or "xy".
    """
    from .draw import COLOURS

    figure, (axis,) = _axes(1, 7.0, 1.9)
    for i, (name, (x, y)) in enumerate(lines.items()):
        colour = [c / 255 for c in COLOURS[(6, 5, 2, 0, 4, 1)[i % 6]]]
        axis.plot(x, y, "o-" if marks else "-", ms=4, lw=1.8, color=colour, label=name)
    axis.set(xlabel=x_label, ylabel=y_label)
    for side in log:
        axis.set(**{f"{side}scale": "log"})
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25)
    if len(lines) > 1:
        axis.legend(frameon=False, fontsize=9)
    return _picture(figure)


def picture_row(pictures: Mapping[str, Any], columns: int = 4, side: float = 2.6) -> Image.Image:
    """Pictures or maps under their titles, in rows.

    Args:
        pictures: title: a PIL picture, (C, H, W) float 0..1, or one map (H, W) of any range.
        columns: in a row. side: inches of one.
    """
    count = len(pictures)
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = _new_figure(side * columns, (side + 0.3) * rows)
    for i, (title, picture) in enumerate(pictures.items()):
        axis = figure.add_subplot(rows, columns, i + 1)
        array = np.asarray(picture)
        if array.ndim == 3 and array.dtype != np.uint8:
            array = np.clip(array, 0, 1).transpose(1, 2, 0)
        axis.imshow(array, cmap="cividis", interpolation="nearest")
        axis.set_title(title, size=9)
        axis.set(xticks=[], yticks=[])
        _bare(axis)
    return _picture(figure)


def _axes(count: int, width: float, across: float) -> tuple[Any, Any]:
    """A figure and its row of axes, each `across` times as wide as high."""
    figure = _new_figure(width, max(1.2, width / count / across + 0.45))
    return figure, figure.subplots(1, count, squeeze=False)[0]


def _new_figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure  # late, and without pyplot: no window, no global state

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def _picture(figure: Any) -> Image.Image:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white")
    return Image.open(buffer).convert("RGB")


def _add_box(axis: Any, shape: Any, box: Any, colour: Colour, fill: float) -> None:
    x1, y1, x2, y2 = box
    rgb = tuple(c / 255 for c in colour)
    frame = shape((x1, y1), x2 - x1, y2 - y1, ec=(*rgb, 1), fc=(*rgb, fill), lw=2)
    axis.add_patch(frame)


def _dark(colour: Colour) -> tuple[float, ...]:
    return tuple(c / 255 * 0.65 for c in colour)


def _bare(axis: Any) -> None:
    axis.spines[["top", "right", "bottom", "left"]].set_visible(False)


def _write_numbers(axis: Any, array: np.ndarray, form: str, limits: tuple[float, float]) -> None:
    middle = (limits[0] + limits[1]) / 2
    size = float(np.clip(60 / max(array.shape), 6, 11))
    for (i, j), value in np.ndenumerate(array):
        ink = "white" if value < middle else "black"
        axis.text(j, i, form.format(value), ha="center", va="center", color=ink, size=size)
