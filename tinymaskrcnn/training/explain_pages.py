"""The pages of a run folder: every stage of one fixed image at several moments of training, and one
page with a slider over them, for that image and a few more.

step-NNNNNNNN.html         the page of that moment, as `tinymaskrcnn explain` writes it
step-NNNNNNNN.moment       what the slider page shows of it, a line for each image, or why there is
                           nothing
step-NNNNNNNN.safetensors  a small model's weights, in float16: `tinymaskrcnn play --history`
index.html                 the slider page, with all moments so far

Nothing here draws from training's generators or leaves a gradient: training goes on as if the pages
were not written.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import reason
from ..files import write_atomic
from ..models.mask_rcnn import MaskRCNN
from .final_weights import write_weights

logger = logging.getLogger(__name__)
SEARCHED = 16  # images searched for some with several objects
OBJECTS = 2
SHOWN = 4  # images on the slider page
SMALL = 2_000_000  # parameters; a larger model's weights are not kept at every moment


@lru_cache(maxsize=8)
def page_steps(steps: int, count: int) -> frozenset[int]:
    """The steps after which pages are written: at the start, then at doubling steps up to the end,
    because most changes happen early.
    """
    if count == 0:
        return frozenset()
    return frozenset({0, *(max(1, round(steps / 2**k)) for k in range(count - 1))})


class ExplainPages:
    """Writes the pages.

    Args:
        folder: made if missing.
        dataset: a named data set; its first images with two objects or more are shown, otherwise
            its first image.
    """

    def __init__(self, folder: Path, dataset: Any) -> None:
        self.folder, self.dataset = folder, dataset

    def write(self, model: MaskRCNN, step: int) -> None:
        """Write this moment's page and a small model's weights, and write the slider page anew.

        A moment that cannot be shown is logged in one line, and the slider page says why.

        Args:
            model: in eval mode, with the weights to show.
            step: steps so far.

        Raises:
            OSError: the weights or the slider page could not be written.
        """
        from ..viz.report import missing_moment, timeline_page  # late: loads matplotlib

        self.folder.mkdir(exist_ok=True)
        title = "this run"
        try:
            (index, image, target), *others = self._images()
            title = self.dataset.describe(index)
            texts = [self._page(model, step, title, image, target)]
            texts += [self._moment(model, step, *other) for other in others]
        except Exception as problem:
            logger.warning(
                "the page of step %d failed; training goes on: %s", step, reason(problem)
            )
            texts = [missing_moment(step, reason(problem))]
        if sum(p.size for p in model.parameters()) <= SMALL:
            path = self.folder / f"step-{step:08d}.safetensors"
            write_weights(path, model, self.dataset.classes, "float16")
        write_atomic(self.folder / f"step-{step:08d}.moment", "\n".join(texts).encode())
        moments = [path.read_text(encoding="utf-8") for path in self._moments(step)]
        write_atomic(self.folder / "index.html", timeline_page(moments, title).encode())

    def _page(self, model: MaskRCNN, step: int, title: str, image: Any, target: Any) -> str:
        """Write this moment's page; returns what the slider page shows of it."""
        from ..viz.report import explain_page, moment, trace_of

        path, classes = self.folder / f"step-{step:08d}.html", self.dataset.classes
        t = trace_of(model, image, target)
        page = explain_page(model, image, classes, target, f"{title} after {step} steps", t=t)
        write_atomic(path, page.encode())
        return moment(model, t, classes, step, title, path.name)

    def _moment(self, model: MaskRCNN, step: int, index: int, image: Any, target: Any) -> str:
        """What the slider page shows of an image without a page of its own."""
        from ..viz.report import moment, trace_of

        t, title = trace_of(model, image, target), self.dataset.describe(index)
        return moment(model, t, self.dataset.classes, step, title, None)

    def _moments(self, step: int) -> list[Path]:
        """The moments up to this step; an interrupted run may have left later ones."""
        paths = sorted(self.folder.glob("step-*.moment"))
        return [path for path in paths if int(path.stem.removeprefix("step-")) <= step]

    def _images(self) -> list[tuple[int, Any, Any]]:
        """Index, image and target of the images to show."""
        shown: list[tuple[int, Any, Any]] = []
        for index in range(min(SEARCHED, len(self.dataset))):
            image, target = self.dataset[index]
            if len(target["labels"]) >= OBJECTS:
                shown.append((index, image, target))
            if len(shown) == SHOWN:
                break
        return shown or [(0, *self.dataset[0])]
