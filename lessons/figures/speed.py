"""Figures of rates: a roofline with kernels, and bars of rates with the machine's peak."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from tinymaskrcnn.viz.colours import DETECTION, DROPPED, GROUND_TRUTH, PROPOSAL

from .figure import as_image, as_picture, new_figure


@as_image
def roofline(peak: float, bandwidth: float, kernels: Mapping[str, float]) -> Image.Image:
    """The rate that a machine allows, as a function of a kernel's operations per byte.

    Args:
        peak: operations per second.
        bandwidth: bytes per second.
        kernels: by name: operations per byte; each gets a mark on the roof.
    """
    figure = new_figure(7.0, 4.1)
    axis = figure.subplots()
    intensity = np.geomspace(1 / 16, 1024, 200)
    axis.plot(intensity, np.minimum(peak, intensity * bandwidth) / 1e9, lw=2, color=PROPOSAL)
    for name, at in kernels.items():
        rate = min(peak, at * bandwidth) / 1e9
        axis.plot([at], [rate], "o", ms=9, color=DETECTION)
        side = "right" if at > 4 else "left"  # names stay inside the axes
        offset = (-9 if side == "right" else 9, -16)
        axis.annotate(name, (at, rate), offset, textcoords="offset points", size=10, ha=side)
    axis.set(xscale="log", yscale="log", ylim=(bandwidth / 1e9 / 40, peak / 1e9 * 3))
    axis.set(xlabel="operations for each byte", ylabel="GFLOP/s")
    _tidy(axis)
    return as_picture(figure)


@as_image
def rate_bars(rates: Mapping[str, float], peak: float) -> Image.Image:
    """Named rates (operations per second) as bars, the first on top, and the peak as a line."""
    figure = new_figure(7.5, 0.9 + 0.42 * len(rates))
    axis = figure.subplots()
    values = np.array(list(rates.values())) / 1e9
    axis.barh(range(len(values)), values, color=GROUND_TRUTH, height=0.62)
    for row, value in enumerate(values):
        axis.text(value * 1.12, row, f"{value:.3g}", va="center", size=9)
    axis.axvline(peak / 1e9, color=DROPPED, ls="--")
    axis.text(peak / 1e9, -0.75, f"peak {peak / 1e9:.3g}", ha="center", size=9, color="0.35")
    axis.set_yticks(range(len(values)), list(rates))
    axis.set(xscale="log", xlabel="GFLOP/s", xlim=(values.min() / 2, max(peak / 1e9, *values) * 4))
    axis.invert_yaxis()
    _tidy(axis)
    return as_picture(figure)


def _tidy(axis: Any) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25)
    axis.set_axisbelow(True)
