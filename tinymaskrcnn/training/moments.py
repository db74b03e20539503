"""The pages of a run folder: every stage of one fixed picture at several moments of training, and
one page that scrubs through them.

step-NNNNNNNN.html    the page of that moment, as `tinymaskrcnn explain` writes it
step-NNNNNNNN.moment  what the scrubbing page shows of it
index.html            the scrubbing page, of all moments so far

Nothing here draws from training's generators or leaves a gradient: training goes on as without it.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import NonFiniteError
from ..files import write_atomic
from ..models.mask_rcnn import MaskRCNN

logger = logging.getLogger(__name__)
SEARCHED = 16  # pictures among which the one with several objects is looked for
OBJECTS = 2


@lru_cache(maxsize=8)
def moment_steps(steps: int, count: int) -> frozenset[int]:
    """After which steps the pages are written: at the start, and at doubling steps up to the end,
    since most changes early.
    """
    if count == 0:
        return frozenset()
    return frozenset({0, *(max(1, round(steps / 2**k)) for k in range(count - 1))})


class Moments:
    """Writes the pages.

    Args:
        folder: made if missing. pictures: a named data set; the first of its pictures with two
            objects or more is shown, else the first.
    """

    def __init__(self, folder: Path, pictures: Any) -> None:
        self.folder, self.pictures = folder, pictures

    def write(self, model: MaskRCNN, step: int) -> None:
        """Write this moment's page and the scrubbing page anew.

        Args:
            model: in eval mode, with the weights that are to be shown. step: steps so far.

        Raises:
            OSError: a file could not be written.
        """
        from ..viz.report import explain_page, moment, timeline_page, trace_of  # late: as pictures

        self.folder.mkdir(exist_ok=True)
        index, image, target = self._picture()
        title, classes = self.pictures.describe(index), self.pictures.classes
        name = f"step-{step:08d}"
        t = trace_of(model, image, target)
        try:
            page = explain_page(model, image, classes, target, f"{title} after {step} steps", t=t)
        except NonFiniteError as problem:  # training itself says so, with the cause
            logger.warning("step %d: %s", step, problem)
            return
        write_atomic(self.folder / f"{name}.html", page.encode())
        text = moment(model, t, classes, step, title, f"{name}.html")
        write_atomic(self.folder / f"{name}.moment", text.encode())
        moments = [path.read_text(encoding="utf-8") for path in self._moments(step)]
        write_atomic(self.folder / "index.html", timeline_page(moments, title).encode())

    def _moments(self, step: int) -> list[Path]:
        """The moments up to this step: of later ones an interrupted run may have left some."""
        paths = sorted(self.folder.glob("step-*.moment"))
        return [path for path in paths if int(path.stem.removeprefix("step-")) <= step]

    def _picture(self) -> tuple[int, Any, Any]:
        for index in range(min(SEARCHED, len(self.pictures))):
            image, target = self.pictures[index]
            if len(target["labels"]) >= OBJECTS:
                return index, image, target
        return 0, *self.pictures[0]
