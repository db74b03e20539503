"""How our times grow with the image's size, the number of regions, and threads. No peers."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..golden.seeded import seeded_picture
from . import models
from .case import Arrays, Bound, Case, Timed
from .operators import P2, draw_rois

GROWTH = Bound(1.1, 1.0)  # (time / work) of the larger / that of the smaller


def inference(height: int, width: int) -> Timed:
    settings: dict[str, Any] = {"min_size": height, "max_size": 1333, "box_score_thresh": 0.0}
    model, picture = models.resnet50(**settings).eval(), seeded_picture(height, width, 0)
    return Timed(lambda: model([picture])[0], models.detections)


def box_head(count: int) -> Timed:
    """RoIAlign and the two fully connected layers for `count` regions."""
    import tinymaskrcnn as tm

    rng, heads = np.random.default_rng(0), models.resnet50().eval().roi_heads
    levels = [
        tm.Tensor(rng.standard_normal((1, P2[1] >> i, P2[2] >> i, P2[3]), dtype=np.float32))
        for i in range(4)
    ]
    boxes = [draw_rois(rng, count, 1, 800, 1088, 400)[:, 1:]]

    def run() -> Arrays:
        with tm.no_grad():
            crops = heads.box_pool(levels, boxes, [(800, 1088)]).crops
            return [y.data for y in heads.box_predictor(heads.box_head(crops))]

    return Timed(run)


def tiny_step() -> Timed:
    return models.CASES["training step tiny 128x128 B8"].sides["ours"]()


def ours(make: Any, *arguments: Any, threads: int | None = None) -> Case:
    return Case({"ours": partial(make, *arguments)}, flops=None, threads=threads)


CASES: dict[str, Case] = {
    "scaling: picture 320x427": ours(inference, 320, 427),
    "scaling: picture 480x640": ours(inference, 480, 640),
    "scaling: picture 800x1066": ours(inference, 800, 1066),
    **{f"scaling: {n} regions": ours(box_head, n) for n in (250, 500, 1000, 2000)},
    "scaling: picture 480x640, 1 thread": ours(inference, 480, 640, threads=1),
    "scaling: tiny step, 1 thread": ours(tiny_step, threads=1),
    "scaling: tiny step": ours(tiny_step),
}


class Trend(NamedTuple):
    """Two cases, how many times the first's work the second has, and a bound for time / work."""

    first: str
    second: str
    work: float
    bound: Bound | None


TRENDS: dict[str, Trend] = {
    "growth of time over that of pixels, 320x427 to 800x1066": Trend(
        "scaling: picture 320x427", "scaling: picture 800x1066", 800 * 1066 / 320 / 427, GROWTH
    ),
    "growth of time over that of regions, 250 to 2000": Trend(
        "scaling: 250 regions", "scaling: 2000 regions", 8, GROWTH
    ),
    "inference, time of all threads / of one": Trend(
        "scaling: picture 480x640, 1 thread", "scaling: picture 480x640", 1, None
    ),
    "tiny training step, time of all threads / of one": Trend(
        "scaling: tiny step, 1 thread", "scaling: tiny step", 1, None
    ),
}
