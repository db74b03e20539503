"""The curves of a training run: losses and learning rate per step, and AP where it was measured."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..files import mark, write_atomic
from .colours import DETECTION, INK, LOSSES, MASK, QUIET

LEAST = 1e-6  # a logarithmic axis cannot show a loss of zero

Rows = Sequence[Mapping[str, Any]]

TERMS = {  # name in metrics.jsonl: (name in the legend, colour)
    "loss": ("sum", INK),
    "loss_objectness": ("objectness", LOSSES["loss_objectness"]),
    "loss_rpn_box_reg": ("RPN boxes", LOSSES["loss_rpn_box_reg"]),
    "loss_classifier": ("classes", LOSSES["loss_classifier"]),
    "loss_box_reg": ("boxes", LOSSES["loss_box_reg"]),
    "loss_mask": ("masks", LOSSES["loss_mask"]),
}


def training_curve(metrics: Rows, path: Path, evaluations: Rows = ()) -> None:
    """Plot the losses (faint: every step; solid: smoothed), the learning rate, and AP.

    Args:
        metrics: rows of metrics.jsonl.
        path: the PNG to write.
        evaluations: rows of evaluations.jsonl.
    """
    from matplotlib.figure import Figure  # late, and without pyplot: no window, no global state

    figure = Figure(figsize=(9, 7 if evaluations else 5.5), dpi=110, layout="constrained")
    heights = [4, 1, 2] if evaluations else [4, 1]
    axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    _draw_losses(axes[0], metrics)
    _style(axes[1], "learning rate")
    axes[1].plot(*_series(metrics, "lr"), color=QUIET, lw=1.2)
    if evaluations:
        _draw_figures(axes[2], evaluations)
    axes[-1].set_xlabel("step")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": mark("train")})
    write_atomic(path, buffer.getvalue())


def smoothed(values: np.ndarray, window: int) -> np.ndarray:
    """The mean over the last `window` values, or over all so far at the start. values: (T,)."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


def _draw_losses(axis: Any, metrics: Rows) -> None:
    window = max(1, len(metrics) // 40)
    for name, (label, colour) in TERMS.items():
        steps, values = _series(metrics, name)
        values = np.maximum(values, LEAST)
        axis.plot(steps, values, color=colour, lw=0.5, alpha=0.2)
        axis.plot(
            steps,
            smoothed(values, window),
            color=colour,
            lw=1.8 if name == "loss" else 1.2,
            label=label,
        )
    _style(axis, "loss")
    axis.set_yscale("log")
    axis.legend(ncols=3, frameon=False, fontsize=9, loc="upper right")


def _draw_figures(axis: Any, evaluations: Rows) -> None:
    steps = [row["step"] for row in evaluations]
    for kind, label, colour in (("segm", "mask AP", MASK), ("bbox", "box AP", DETECTION)):
        axis.plot(
            steps, [row[kind]["AP"] for row in evaluations], "o-", ms=4, color=colour, label=label
        )
    _style(axis, "AP")
    axis.legend(frameon=False, fontsize=9, loc="lower right")


def _series(rows: Rows, name: str) -> tuple[np.ndarray, np.ndarray]:
    kept = [row for row in rows if name in row]
    return np.array([row["step"] for row in kept]), np.array([row[name] for row in kept])


def _style(axis: Any, label: str) -> None:
    axis.set_ylabel(label)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", alpha=0.2)
