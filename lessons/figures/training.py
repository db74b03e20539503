"""Figures of a training run: its loss curves, and where a box goes from step to step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from tinymaskrcnn.viz.curves import TERMS, smoothed

from .diagrams import GROUND_TRUTH, PROPOSAL, Colour, boxes_on_picture
from .figure import as_image, as_picture, new_figure


@as_image
def loss_curves(losses: Mapping[str, np.ndarray], window: int = 15) -> Image.Image:
    """Loss terms in their colours: faint for each step, strong for the mean of the last `window`.

    Args:
        losses: by the names in metrics.jsonl: (T,), the first from step 1.
        window: in steps.
    """
    figure = new_figure(7.0, 4.1)
    axis = figure.subplots()
    for name, values in losses.items():
        label, colour = TERMS[name]
        steps = np.arange(1, len(values) + 1)
        axis.plot(steps, values, lw=0.5, alpha=0.35, color=colour)
        axis.plot(steps, smoothed(values, window), lw=1.8, color=colour, label=label)
    axis.set(xlabel="step", ylabel="loss", yscale="log")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, ncols=3, loc="upper right")
    return as_picture(figure)


def boxes_over_steps(
    image: np.ndarray,
    boxes: Sequence[np.ndarray],
    steps: Sequence[int],
    truth: np.ndarray,
    colour: Colour = PROPOSAL,
) -> dict[str, Image.Image]:
    """The image at several steps, with the true boxes and the step's boxes; for `picture_row`.

    Args:
        image: (3, H, W).
        boxes: for each step (n, 4), in pixels of the image.
        steps: their numbers.
        truth: (G, 4).
        colour: of the step's boxes.
    """
    none = [""] * len(truth)
    return {
        f"step {step}": boxes_on_picture(
            image, (truth, GROUND_TRUTH, none), (now, colour, [""] * len(now))
        )
        for step, now in zip(steps, boxes, strict=True)
    }
