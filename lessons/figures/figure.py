"""Turn a matplotlib figure into a PIL image, without windows and without global state."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image

DPI = 110


def new_figure(width: float, height: float) -> Any:
    """An empty figure of this size in inches."""
    from matplotlib.figure import (
        Figure,
    )  # imported late: loading it takes as long as running a small model

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def as_picture(figure: Any) -> Image.Image:
    """The figure in RGB, on white."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white")
    return Image.open(buffer).convert("RGB")


def bare(axis: Any) -> None:
    """Remove the frame around an axis."""
    axis.spines[["top", "right", "bottom", "left"]].set_visible(False)
