"""The weights themselves: statistics and histograms of every array, and what is odd about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .colours import INK, MASK
from .figures.canvas import draw_histogram, panels, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@np.errstate(all="ignore")  # for values that are not finite, or whose squares are not
def weight_statistics(state: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Statistics for each array: name, shape, smallest, largest, mean, standard deviation, and what
    is odd: "not finite", "all zero", "all equal", "large" (beyond 100 in size), else "".
    """
    return [_statistics(name, array) for name, array in state.items()]


def _statistics(name: str, array: np.ndarray) -> dict[str, Any]:
    values = np.asarray(array, np.float64)
    row: dict[str, Any] = {"name": name, "shape": list(array.shape), "odd": _oddity(values)}
    if values.size:
        figures = {"least": values.min(), "largest": values.max(), "mean": values.mean()}
        row |= {key: float(v) for key, v in {**figures, "std": values.std()}.items()}
    return row


def _oddity(values: np.ndarray) -> str:
    if not np.isfinite(values).all():
        return "not finite"
    if values.size and not values.any():
        return "all zero"
    if values.size > 1 and values.min() == values.max():
        return "all equal"
    return "large" if np.abs(values).max(initial=0) > 100 else ""


def weight_histograms(
    state: Mapping[str, np.ndarray], endings: Sequence[str] = ("weight", "bias")
) -> Figure:
    """A histogram of every array with more than one number whose name has one of the endings:
    weights and biases of convolutions, linear layers and norms.
    """
    chosen = {name: a for name, a in state.items() if name.endswith(tuple(endings)) and a.size > 1}
    figure, axes = panels(max(len(chosen), 1), 4, 2.2)
    for axis, (name, array) in zip(axes, chosen.items(), strict=False):
        draw_histogram(axis, array, 50, fill=True, color=MASK)
        title = name if len(name) < 30 else f"…{name[-29:]}"
        axis.set_title(title, fontsize=6, color=INK)
        axis.tick_params(labelsize=6)
        plain(axis)
    return figure
