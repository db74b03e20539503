"""Turn a matplotlib figure into a PIL image, without windows and without global state."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from typing import Any

from PIL import Image

from tinymaskrcnn.errors import package_of

DPI = 110
NOT_DRAWN = Image.new("RGB", (1, 1))  # in place of a figure, where matplotlib is missing


def as_image(draw: Callable[..., Any]) -> Callable[..., Image.Image]:
    """A function that draws a figure, made to return a PIL image. Without matplotlib it returns
    NOT_DRAWN, for which `show` says what is missing: the lesson goes on.
    """

    @functools.wraps(draw)
    def image(*arguments: Any, **settings: Any) -> Image.Image:
        try:
            figure = draw(*arguments, **settings)
        except ModuleNotFoundError as problem:
            if package_of(problem) != "matplotlib":
                raise
            return NOT_DRAWN
        return as_picture(figure) if hasattr(figure, "savefig") else figure

    return image


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
