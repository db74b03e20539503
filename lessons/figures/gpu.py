"""Figures for lesson 18: threads over a result, what a warp fetches, which threads touch shared
memory, the walk of tiles, the matrix of patches, and expected times.

Every function returns a PIL image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from tinymaskrcnn.viz.colours import ANCHOR, DETECTION, DROPPED, GROUND_TRUTH, INK, LEVELS, PROPOSAL

from .figure import as_image, as_picture, bare, new_figure

Stretch = Sequence[tuple[int, str, tuple[Any, Any]]]  # thread, "reads" or "writes", cell


@as_image
def thread_grid(
    shape: tuple[int, int],
    threads: tuple[int, int],
    block: tuple[int, int],
    thread: tuple[int, int],
) -> Image.Image:
    """A result under a grid of blocks of threads; threads without a cell are dashed.

    Args:
        shape: rows and columns of the result.
        threads: threads per block, along x and y.
        block, thread: (x, y) of the marked one.
    """
    rows, columns = shape
    across, down = -(-columns // threads[0]), -(-rows // threads[1])
    figure = new_figure(7.2, 7.2 * (down * threads[1] + 0.65) / (across * threads[0]) + 0.1)
    axis = figure.subplots()
    for y in range(down * threads[1]):
        for x in range(across * threads[0]):
            here = (x // threads[0], y // threads[1])
            inside = y < rows and x < columns
            colour = LEVELS[(here[0] + here[1] * across) % len(LEVELS)]
            _cell(
                axis, x, y, colour if inside else "white", 0.35 if inside else 1, dashed=not inside
            )
            if here == block:
                name = f"{x % threads[0]},{y % threads[1]}"
                axis.text(x + 0.5, y + 0.5, name, ha="center", va="center", size=9, color=INK)
    for i in range(across * down):
        x, y = i % across * threads[0], i // across * threads[1]
        _outline(axis, (x, y, threads[0], threads[1]), INK, 2.2)
        if (i % across, i // across) != block:
            place = (x + threads[0] / 2, y + threads[1] / 2)
            axis.text(
                *place, f"block\n{i % across},{i // across}", ha="center", va="center", size=11
            )
    x, y = (block[i] * threads[i] + thread[i] for i in range(2))
    _outline(axis, (x + 0.04, y + 0.04, 0.92, 0.92), DETECTION, 3)
    axis.text(block[0] * threads[0], -0.25, f"block {block[0]},{block[1]}", size=11, color=INK)
    _frame(axis, (0, across * threads[0]), (-0.65, down * threads[1]))
    return as_picture(figure)


@as_image
def fetched(
    places: Mapping[str, np.ndarray], shape: tuple[int, int], piece: int = 8
) -> Image.Image:
    """A matrix as it lies in memory, row after row. The numbers that a warp reads are dark, the
    rest of the pieces that memory delivers with them light.

    Args:
        places: by title: the places (32,) that are read, counted in numbers.
        shape: of the matrix.
        piece: how many numbers memory delivers together.
    """
    figure = new_figure(4.2 * len(places), 4.2 * shape[0] / shape[1] + 0.4)
    for axis, (title, read) in zip(
        figure.subplots(1, len(places), squeeze=False)[0], places.items(), strict=True
    ):
        colours = np.full(shape[0] * shape[1], 0)
        for start in np.unique(read // piece) * piece:
            colours[start : start + piece] = 1
        colours[read] = 2
        axis.imshow(_painted(colours.reshape(shape), ["#f4f4f4", "#f3cf8e", DETECTION]))
        axis.set_xticks(np.arange(0, shape[1], piece) - 0.5, minor=True)
        axis.set_yticks(np.arange(shape[0]) - 0.5, minor=True)
        axis.grid(which="minor", color="white", lw=1)
        axis.tick_params(which="both", length=0)
        axis.set(xticks=[], yticks=[])
        axis.set_title(title, size=11)
        bare(axis)
    return as_picture(figure)


@as_image
def touches(panels: Mapping[str, Sequence[Stretch]]) -> Image.Image:
    """Which thread writes and reads which cell of shared memory, stretch by stretch: threads in
    rows, cells in columns, a vertical line at each barrier.

    Args:
        panels: by title: for each stretch between barriers, its touches. A cell is red if one
            thread writes it and another touches it within the same stretch.
    """
    counts = {title: len(stretches) for title, stretches in panels.items()}
    every = [touch for stretches in panels.values() for stretch in stretches for touch in stretch]
    threads, cells = (
        1 + max(values) for values in zip(*[(t, c[1]) for t, _, c in every], strict=True)
    )
    widths = [count * (cells + 1) for count in counts.values()]
    figure = new_figure(0.28 * sum(widths) + 1.4, 0.28 * threads + 1.3)
    axes = figure.subplots(1, len(panels), squeeze=False, width_ratios=widths)[0]
    for axis, (title, stretches) in zip(axes, panels.items(), strict=True):
        for number, stretch in enumerate(stretches):
            left = number * (cells + 1)
            _touched(axis, stretch, left)
            if number:
                axis.plot([left - 0.5] * 2, [-0.25, threads + 0.2], color=INK, lw=2.5)
                axis.text(left - 0.5, -0.4, "barrier", ha="center", size=9, color=INK)
        _frame(axis, (-0.3, widths[list(panels).index(title)] - 0.7), (-1, threads + 0.3))
        axis.set_yticks(np.arange(threads) + 0.5, range(threads))
        axis.set_xticks(
            [n * (cells + 1) + c + 0.5 for n in range(len(stretches)) for c in range(cells)],
            [str(c) for _ in stretches for c in range(cells)],
        )
        axis.tick_params(length=0, labelsize=8, colors="0.4")
        axis.set(xlabel="cell of shared memory", ylabel="thread")
        axis.set_title(title, size=11)
    for kind, colour in (("writes", PROPOSAL), ("reads", ANCHOR), ("race", DETECTION)):
        axes[0].plot([], [], "s", ms=9, color=colour, label=kind)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return as_picture(figure)


def _touched(axis: Any, stretch: Stretch, left: int) -> None:
    """One stretch's touches; if a thread both writes and reads a cell, each has half of it."""
    done: dict[tuple[int, int], set[str]] = {}
    for thread, what, (_, cell) in stretch:
        done.setdefault((thread, cell), set()).add(what)
    written = {cell for (_, cell), kinds in done.items() if "writes" in kinds}
    raced = {c for c in written if len({t for t, cell in done if cell == c}) > 1}
    for (thread, cell), kinds in done.items():
        colours = {"writes": PROPOSAL, "reads": ANCHOR}
        parts = [colours[kind] for kind in ("writes", "reads") if kind in kinds]
        for i, colour in enumerate(parts):
            _patch(axis, (left + cell + i / len(parts), thread, 1 / len(parts), 1), colour)
        _outline(axis, (left + cell, thread, 1, 1), "white", 1)
    for thread, cell in done:
        if cell in raced:
            _outline(axis, (left + cell + 0.08, thread + 0.08, 0.84, 0.84), DETECTION, 2.4)


@as_image
def tile_walk(tiles: int, row: int, column: int, step: int) -> Image.Image:
    """Three square matrices of tiles, a, b and their product c: one tile of c, the tiles of a and b
    that it needs, and the pair that is in shared memory at one step.
    """
    figure = new_figure(6.4, 6.2)
    axis = figure.subplots()
    gap = 0.7
    side: float = tiles + gap
    corners: dict[str, tuple[float, float]] = {"a": (0, side), "b": (side, 0), "c": (side, side)}
    for name, (x0, y0) in corners.items():
        for y in range(tiles):
            for x in range(tiles):
                needed = (name == "a" and y == row) or (name == "b" and x == column)
                now = needed and (x if name == "a" else y) == step
                mine = name == "c" and (y, x) == (row, column)
                colour = (
                    GROUND_TRUTH if mine else PROPOSAL if now else ANCHOR if needed else DROPPED
                )
                _cell(axis, x0 + x, y0 + y, colour, 0.9 if mine or now else 0.5 if needed else 0.25)
        axis.text(x0 + tiles / 2, y0 - 0.15, name, ha="center", size=14, color=INK, style="italic")
    text = {"ha": "center", "va": "center", "size": 10, "color": INK}
    axis.text(side + column + 0.5, side + row + 0.5, "one\nblock", **text)
    axis.text(step + 0.5, side + row + 0.5, "in\nshared", **text)
    axis.text(side + column + 0.5, step + 0.5, "in\nshared", **text)
    axis.annotate(
        "", (tiles - 0.1, side + row + 0.5), (step + 1, side + row + 0.5), arrowprops=_ARROW
    )
    axis.annotate(
        "", (side + column + 0.5, tiles - 0.1), (side + column + 0.5, step + 1), arrowprops=_ARROW
    )
    axis.text(tiles / 2, tiles / 2, "the pair walks\nalong k", **text | {"size": 11})
    _frame(axis, (-0.1, side + tiles + 0.1), (-gap, side + tiles + 0.1))
    return as_picture(figure)


@as_image
def patch_matrix(
    map_size: tuple[int, int], kernel: int, tile: tuple[int, int, int, int], pixel: int = 5
) -> Image.Image:
    """A map with one pixel's window, and beside it the matrix of all windows, in which one block's
    corner is outlined; the padding is dashed and empty.

    Args:
        map_size: rows, columns; the map is padded so that each pixel has a window.
        kernel: the kernel's side, odd.
        tile: first and last row and column of the corner.
        pixel: the pixel whose window to show.
    """
    rows, columns = map_size
    taps = kernel**2
    figure = new_figure(9.0, 0.26 * rows * columns + 0.6)
    left, right = figure.subplots(1, 2, width_ratios=[columns + 2, taps * 1.6])
    top, first = pixel // columns - kernel // 2, pixel % columns - kernel // 2
    for y in range(-1, rows + 1):
        for x in range(-1, columns + 1):
            tap = (y - top) * kernel + x - first
            inside = top <= y < top + kernel and first <= x < first + kernel
            _cell(
                left, x, y, _shade(tap, taps) if inside else "white", 0.9, not _on(y, x, map_size)
            )
            if _on(y, x, map_size):
                left.text(x + 0.5, y + 0.5, str(y * columns + x), ha="center", va="center", size=10)
    _outline(left, (first, top, kernel, kernel), INK, 2.4)
    left.set_title(f"the map: window of pixel {pixel}", size=11)
    _frame(left, (-1.1, columns + 1.1), (-1.1, rows + 1.1))
    for m in range(rows * columns):
        for tap in range(taps):
            y = m // columns + tap // kernel - kernel // 2
            x = m % columns + tap % kernel - kernel // 2
            colour = _shade(tap, taps) if m == pixel else "white"
            _cell(right, tap, m, colour, 0.9, not _on(y, x, map_size))
            shown = str(y * columns + x) if _on(y, x, map_size) else ""
            right.text(tap + 0.5, m + 0.5, shown, ha="center", va="center", size=7.5, color=INK)
    low, high, begin, end = tile
    _outline(right, (begin, low, end - begin + 1, high - low + 1), DETECTION, 3)
    right.set_title("the matrix of patches: a row per pixel, a column per tap", size=11)
    _frame(right, (-0.1, taps + 0.1), (-0.1, rows * columns + 0.1), equal=False)
    right.set_yticks(np.arange(rows * columns) + 0.5, range(rows * columns))
    right.set_xticks(np.arange(taps) + 0.5, range(taps))
    right.tick_params(length=0, labelsize=7.5, colors="0.4")
    return as_picture(figure)


@as_image
def waits(seconds: Mapping[str, float], launch: float) -> Image.Image:
    """The expected times of kernels as bars, in microseconds, and the time of a launch as a line.
    Bars that end before the line are grey: there the card waits.
    """
    figure = new_figure(7.5, 1.0 + 0.42 * len(seconds))
    axis = figure.subplots()
    values = 1e6 * np.array(list(seconds.values()))
    colours = [DROPPED if value < 1e6 * launch else GROUND_TRUTH for value in values]
    axis.barh(range(len(values)), values, color=colours, height=0.62)
    for row, value in enumerate(values):
        axis.text(value * 1.08, row, f"{value:.0f}", va="center", size=9, zorder=3)
    axis.axvline(1e6 * launch, color=DETECTION, ls="--")
    axis.text(1e6 * launch, -0.75, "a launch, assumed", ha="center", size=9, color=DETECTION)
    axis.set_yticks(range(len(values)), list(seconds))
    axis.set(xscale="log", xlabel="microseconds on paper", xlim=(1, values.max() * 4))
    axis.invert_yaxis()
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25, axis="x")
    axis.set_axisbelow(True)
    return as_picture(figure)


_ARROW = {"arrowstyle": "-|>", "color": INK, "lw": 1.4}


def _on(y: int, x: int, size: tuple[int, int]) -> bool:
    return 0 <= y < size[0] and 0 <= x < size[1]


def _shade(tap: int, taps: int) -> tuple[float, ...]:
    """The colour of a tap, light enough to write on."""
    from matplotlib import colormaps

    return colormaps["viridis"](0.35 + 0.65 * tap / max(taps - 1, 1))


def _painted(numbers: np.ndarray, colours: Sequence[str]) -> np.ndarray:
    """(H, W, 3): each number as its colour."""
    from matplotlib.colors import to_rgb

    return np.array([to_rgb(colour) for colour in colours])[numbers]


def _cell(
    axis: Any, x: float, y: float, colour: Any, strength: float, dashed: bool = False
) -> None:
    _patch(axis, (x, y, 1, 1), colour, strength)
    style = (0, (2, 2)) if dashed else "-"
    _outline(axis, (x, y, 1, 1), "0.75", 0.8, style)


def _patch(axis: Any, box: Sequence[float], colour: Any, strength: float = 1.0) -> None:
    from matplotlib.patches import Rectangle

    axis.add_patch(
        Rectangle((box[0], box[1]), box[2], box[3], fc=colour, ec="none", alpha=strength)
    )


def _outline(axis: Any, box: Sequence[float], colour: str, width: float, style: Any = "-") -> None:
    from matplotlib.patches import Rectangle

    frame = {"fill": False, "ec": colour, "lw": width, "ls": style}
    axis.add_patch(Rectangle((box[0], box[1]), box[2], box[3], zorder=2 + width / 10, **frame))


def _frame(
    axis: Any, across: tuple[float, float], down: tuple[float, float], equal: bool = True
) -> None:
    """Set an axis's limits, y downwards, and remove its ticks and frame."""
    axis.set(xlim=across, ylim=down[::-1], xticks=[], yticks=[])
    if equal:
        axis.set_aspect("equal")
    bare(axis)
