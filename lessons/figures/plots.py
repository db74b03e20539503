"""Curves, rows of images and maps, and graphs of operations.

Every function returns a PIL image; the caller shows or saves it. Not here: the curves of a
training run (tinymaskrcnn/viz/curves.py), diagrams of boxes and tables (diagrams.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from tinymaskrcnn.viz.colours import HEAT
from tinymaskrcnn.viz.draw import COLOURS, INK

from .figure import as_image, as_picture, bare, new_figure


@as_image
def curves(
    lines: Mapping[str, tuple[np.ndarray, np.ndarray]],
    x_label: str,
    y_label: str,
    marks: bool = False,
    log: str = "",
) -> Image.Image:
    """Several named curves in one frame.

    Args:
        lines: by name: (x (n,), y (n,)).
        marks: whether to draw a dot at each point.
        log: axes with a logarithmic scale: "x", "y" or "xy".
    """
    figure = new_figure(7.0, 4.1)
    axis = figure.subplots()
    for i, (name, (x, y)) in enumerate(lines.items()):
        colour = [c / 255 for c in COLOURS[(6, 5, 2, 0, 4, 1)[i % 6]]]
        axis.plot(x, y, "o-" if marks else "-", ms=4, lw=1.8, color=colour, label=name)
    places = np.unique(np.concatenate([x for x, _ in lines.values()]))
    if len(places) <= 10 and (places == places.astype(int)).all():
        axis.set_xticks(places)
    elif (places == places.astype(int)).all() and "x" not in log:
        axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set(xlabel=x_label, ylabel=y_label)
    for side in log:
        axis.set(**{f"{side}scale": "log"})
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25)
    if len(lines) > 1:
        axis.legend(frameon=False, fontsize=9)
    return as_picture(figure)


@as_image
def picture_row(pictures: Mapping[str, Any], columns: int = 4, side: float = 2.6) -> Image.Image:
    """Images or maps under their titles, in rows.

    Args:
        pictures: by title: a PIL image, (C, H, W) float 0..1, or a map (H, W) of any range.
        columns: images per row.
        side: width of an image in inches.
    """
    count = len(pictures)
    columns = min(columns, count)
    rows = -(-count // columns)
    _, height, width = (1, *np.asarray(next(iter(pictures.values()))).shape)[-3:]
    if isinstance(next(iter(pictures.values())), Image.Image):
        width, height = next(iter(pictures.values())).size
    figure = new_figure(side * columns, (side * height / width + 0.3) * rows)
    for i, (title, picture) in enumerate(pictures.items()):
        axis = figure.add_subplot(rows, columns, i + 1)
        array = np.asarray(picture)
        if array.ndim == 3 and array.dtype != np.uint8:
            array = np.clip(array, 0, 1).transpose(1, 2, 0)
        axis.imshow(array, cmap=HEAT, interpolation="nearest")
        axis.set_title(title, size=9)
        axis.set(xticks=[], yticks=[])
        bare(axis)
    return as_picture(figure)


@as_image
def graph(
    nodes: Mapping[str, tuple[float, float, str]],
    edges: Sequence[tuple[str, str, str]],
    size: tuple[float, float] = (8.0, 3.0),
) -> Image.Image:
    """Boxes with text and arrows between them.

    Args:
        nodes: by name: (x, y, text), y downwards, in units of about one box.
        edges: (from, to, text at the arrow).
        size: of the figure in inches.
    """
    figure = new_figure(*size)
    axis = figure.subplots()
    boxes = {}
    for name, (x, y, text) in nodes.items():
        frame = {"boxstyle": "round,pad=0.45", "fc": _share((235, 243, 250)), "ec": "0.4"}
        style = {"ha": "center", "va": "center", "size": 10, "color": _share(INK)}
        boxes[name] = axis.text(x, y, text, bbox=frame, zorder=3, **style).get_bbox_patch()
    for start, end, text in edges:
        (x1, y1, _), (x2, y2, _) = nodes[start], nodes[end]
        arrow = {"arrowstyle": "-|>", "color": "0.45", "lw": 1.3, "shrinkA": 2, "shrinkB": 2}
        ends = {"patchA": boxes[start], "patchB": boxes[end]}
        axis.annotate("", (x2, y2), (x1, y1), arrowprops=arrow | ends)
        middle = ((x1 + x2) / 2, (y1 + y2) / 2)
        paper = {"fc": "white", "ec": "none", "pad": 1.0}
        axis.text(
            *middle, text, ha="center", va="center", size=9, color=_share(COLOURS[5]), bbox=paper
        )
    places = np.array([(x, y) for x, y, _ in nodes.values()])
    low, high = places.min(0) - 0.6, places.max(0) + 0.6
    axis.set(xlim=(low[0], high[0]), ylim=(high[1], low[1]), xticks=[], yticks=[])
    bare(axis)
    return as_picture(figure)


def _share(colour: tuple[int, int, int]) -> tuple[float, ...]:
    return tuple(c / 255 for c in colour)
