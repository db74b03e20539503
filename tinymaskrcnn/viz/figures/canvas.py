"""What the figures share: figures without pyplot, the image under the boxes, boxes, titles.

A figure at the end of a notebook cell shows itself; `figure.savefig("name.png")` writes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import printable
from ...tracing import Trace
from ..colours import DROPPED, INK, LINES, PAPER, rgb

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CELL = 2.6  # inches of one image in a grid


def literal(name: str) -> str:
    """A name for matplotlib to show as it is: text between two dollar signs is no formula."""
    return printable(name).replace("$", r"\$")


def panels(
    count: int, columns: int = 4, size: float = CELL, titles: Sequence[str] = (), **settings: Any
) -> tuple[Figure, list[Axes]]:
    """A figure with `count` empty axes in rows; the axes left over are switched off.

    Args:
        size: width and height of each, in inches.
        settings: of `subplots`.
    """
    from matplotlib.figure import Figure  # late, and without pyplot: no window, no global state

    columns = max(1, min(columns, count))
    rows = max(1, -(-count // columns))
    figure = Figure(figsize=(columns * size, rows * size), dpi=110, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **settings).ravel().tolist()
    for axis in axes[count:]:
        axis.set_axis_off()
    for axis, title in zip(axes, titles, strict=False):
        axis.set_title(title, fontsize=9, color=INK)
    return figure, axes[:count]


def chart(width: float = 6.0, height: float = 3.4) -> tuple[Figure, Axes]:
    """A figure with one pair of axes for a plot."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    axis = figure.subplots()
    plain(axis)
    return figure, axis


def plain(axis: Axes) -> None:
    """Two spines and a faint grid."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.2)


def image_of(t: Trace, image: int = 0) -> np.ndarray:
    """The resized image as the network received it, normalisation undone: (H, W, 3) in 0..1."""
    mean, std = (np.array(v, np.float32) for v in t["transform.normalisation"])
    height, width = t["transform.sizes"][image]
    pixels = t["transform.batch"][image, :height, :width] * std + mean
    return np.clip(_three_channels(pixels), 0, 1)


def _three_channels(image: np.ndarray) -> np.ndarray:
    return image[..., :3] if image.shape[-1] >= 3 else image[..., :1].repeat(3, axis=-1)


def show_image(axis: Axes, t: Trace, image: int = 0, faded: float = 0.0) -> None:
    """Draw the image under everything that follows; `faded` mixes it with white."""
    pixels = image_of(t, image)
    height, width = pixels.shape[:2]
    axis.imshow(pixels * (1 - faded) + faded, extent=(0, width, height, 0), interpolation="nearest")
    axis.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])


def show_map(axis: Axes, values: np.ndarray, cmap: str, **settings: Any) -> Any:
    """Draw one channel (H, W); returns the matplotlib image, for a colour bar."""
    axis.set(xticks=[], yticks=[])
    return axis.imshow(values, cmap=cmap, interpolation="nearest", **settings)


def histogram(
    values: np.ndarray, bins: int, low: float | None = None, high: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Count the finite values in equal bins, for any range.

    `np.histogram` refuses a range of a few rounding steps, and one whose width overflows.

    Args:
        values: any shape.
        low, high: the range, by default from the smallest to the largest value; values outside are
            not counted. If all values are equal, they are counted in the middle bin.

    Returns:
        counts (bins,), edges (bins + 1,) float64.
    """
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    low = float(values.min(initial=np.inf) if low is None else low)
    high = float(values.max(initial=-np.inf) if high is None else high)
    if low > high:  # there are no values
        low, high = 0.0, 1.0
    scale = max(abs(low), abs(high)) or 1.0
    start, width = low / scale, high / scale - low / scale
    if width == 0:
        start, width = start - 0.5, 1.0
    with np.errstate(over="ignore"):  # values far outside the range
        places = (values / scale - start) / width
    counts = np.histogram(places, bins, (0, 1))[0]
    return counts, (start + width * np.linspace(0, 1, bins + 1)) * scale


def draw_histogram(axis: Axes, values: np.ndarray, bins: int, **settings: Any) -> None:
    """Draw the histogram of any values; settings as for `Axes.stairs`."""
    axis.stairs(*histogram(values, bins), **settings)


def draw_boxes(
    axis: Axes,
    boxes: np.ndarray,
    colour: str,
    style: Any = None,
    width: float = 1.3,
    captions: Sequence[str] = (),
    alpha: float = 1.0,
) -> None:
    """Draw boxes (n, 4) in one colour, in that colour's line style unless another is given."""
    from matplotlib.patches import Rectangle

    style = LINES.get(colour, "-") if style is None else style
    for i, (x1, y1, x2, y2) in enumerate(np.asarray(boxes, float)):
        axis.add_patch(
            Rectangle(
                (x1, y1), x2 - x1, y2 - y1, fill=False, ec=colour, ls=style, lw=width, alpha=alpha
            )
        )
        if i < len(captions):
            tag(axis, x1, y1, captions[i], colour)


def tag(axis: Axes, x: float, y: float, caption: str, colour: str) -> None:
    """A small caption on a filled tag."""
    paper = {"facecolor": colour, "edgecolor": "none", "pad": 1.2, "alpha": 0.9}
    red, green, blue = rgb(colour)
    ink = INK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else PAPER
    axis.text(x, y, caption, fontsize=6.5, color=ink, bbox=paper, va="bottom", clip_on=True)


def keep_in_view(axis: Axes, *boxes: np.ndarray) -> None:
    """Widen the axes so that these boxes are visible wherever they lie."""
    every = np.concatenate([np.asarray(b, float).reshape(-1, 4) for b in boxes])
    every = every[np.isfinite(every).all(axis=1)]
    if not len(every):
        return
    (left, right), (bottom, top) = axis.get_xlim(), axis.get_ylim()
    axis.set_xlim(min(left, every[:, 0].min()) - 2, max(right, every[:, 2].max()) + 2)
    axis.set_ylim(max(bottom, every[:, 3].max()) + 2, min(top, every[:, 1].min()) - 2)


def nothing(axis: Axes, why: str) -> None:
    """Say in the middle of the axes why there is nothing to see."""
    axis.set(xticks=[], yticks=[])
    axis.text(0.5, 0.5, why, ha="center", va="center", color=DROPPED, transform=axis.transAxes)
