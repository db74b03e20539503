"""The progress bar of training: losses, images per second, time left."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ..bars import tqdm
from .recipes import Recipe
from .schedule import progress

_FORMAT = "{n}/{total} {bar:12} {elapsed}<{remaining}{postfix}"
_SHORT = {
    "loss_objectness": "object",
    "loss_rpn_box_reg": "rpn box",
    "loss_classifier": "class",
    "loss_box_reg": "box",
    "loss_mask": "mask",
}
_SMOOTHING = 0.05  # weight of a new step in the losses shown


class Unhindered:
    """Standard error, whether or not somebody still reads it: training does not depend on it."""

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.flush()

    def __eq__(self, other: object) -> bool:  # lets log lines be written above the bar
        return other is sys.stderr

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)


class ProgressBar:
    """A bar on standard error, redrawn twice per minute when output is not a terminal.

    Args:
        recipe: its steps and batch size.
        done: steps done before.
        shown: False draws nothing.
    """

    def __init__(self, recipe: Recipe, done: int, shown: bool) -> None:
        watched = sys.stderr.isatty()
        try:
            sys.stderr.flush()  # as tqdm does when it starts
        except (OSError, ValueError):  # whoever read it has gone
            shown = False
        self._recipe, self._smooth = recipe, {}  # type: Recipe, dict[str, float]
        self._bar = tqdm(
            file=Unhindered(),
            total=recipe.steps,
            initial=done,
            disable=not shown,
            bar_format=_FORMAT,
            mininterval=0.2 if watched else 30,
            dynamic_ncols=watched,
        )

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def update(self, row: Mapping[str, float]) -> None:
        """Count one step, with its row of metrics."""
        if self._bar.disable:
            return
        for name in ("loss", *_SHORT):
            old = self._smooth.get(name, row.get(name, 0.0))
            self._smooth[name] = old + _SMOOTHING * (row.get(name, 0.0) - old)
        if "seconds" in row:  # the schedule may follow the clock
            steps = self._bar.n + 1
            self._bar.total = round(steps / progress(self._recipe, steps, row["seconds"]))
        self._bar.set_postfix_str(self._text(), refresh=False)
        self._bar.update()

    def _text(self) -> str:
        done, elapsed = self._bar.n + 1 - self._bar.initial, self._bar.format_dict["elapsed"]
        rate = done * self._recipe.batch_size / max(elapsed, 1e-6)
        terms = " ".join(f"{short} {self._smooth[name]:.2f}" for name, short in _SHORT.items())
        return f"{rate:.1f} img/s loss {self._smooth['loss']:.3f} ({terms})"
