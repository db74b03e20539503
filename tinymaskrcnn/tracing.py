"""Every intermediate of a pass by name: `with tm.trace() as t:`.

The stages call `record` wherever they have made something that a person may want to see. Outside a
trace that is one look at a variable, and nothing is computed or kept for it (2 microseconds of a
prediction: python -m tests.benchmarks.tracing_cost). Inside, arrays are kept as they are, not
copied: what is recorded may be looked at, never written into.

At the bottom of the package, so that every stage may call it. (The module is not called `trace`,
because the package's `trace` is the function.)

Not here: the figures of a trace (viz/), and what each layer gave (`nn.watch_layers`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from difflib import get_close_matches
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")
_active: ContextVar[Trace | None] = ContextVar("active", default=None)
_NOTHING: AbstractContextManager[None] = nullcontext()

NAMES = {  # every name that the model records, and what stands there
    "transform.batch": "(N, H, W, C) the normalised, resized, padded pictures",
    "transform.sizes": "height and width of each picture after resizing, without padding",
    "transform.original_sizes": "height and width of each picture as it came",
    "transform.normalisation": "mean and standard deviation of each channel: two tuples",
    "transform.targets": "targets in pixels of the resized pictures, a dict a picture",
    "backbone.body": "bottom-up maps, finest first: a list of (N, H, W, C)",
    "backbone.laterals": "the same after the lateral 1x1 convolutions",
    "backbone.merged": "laterals plus what came from above, before the 3x3 convolutions",
    "backbone.pyramid": "the pyramid's levels, finest first, the pooled one last",
    "rpn.hidden": "levels after the RPN's 3x3 convolutions",
    "rpn.objectness": "(N, M) logits of all anchors of all levels",
    "rpn.deltas": "(N, M, 4) offsets of all anchors",
    "rpn.anchors": "(M, 4) x1 y1 x2 y2 in pixels of the resized picture",
    "rpn.level_sizes": "how many of the M anchors each level has",
    "rpn.top_k": "(N, m) the best anchors of each level, indices among the M",
    "rpn.top_k_levels": "(m,) the level of each of them",
    "rpn.scores": "(N, m) their probabilities",
    "rpn.moved": "(N, m, 4) their boxes after the offsets, before clipping",
    "rpn.clipped": "a picture: (m, 4) cut off at the picture's borders",
    "rpn.fates": "a picture: (m,) what became of each, as detection.fates.Fate",
    "rpn.suppressors": "a picture: (m,) the row whose box suppressed it in NMS, -1 for none",
    "rpn.proposal_rows": "a picture: (n,) the rows that became proposals, best first",
    "rpn.proposals": "a picture: (n, 4) the proposals",
    "rpn.match.iou": "a picture: (G, M) overlap of ground truth (crowds left out) and anchors",
    "rpn.match.decisions": "a picture: (M,) ground truth of each anchor, -1 background, -2 between",
    "rpn.sample.indices": "a picture: (n,) anchors that the losses look at, ascending",
    "rpn.sample.is_object": "a picture: (n,) which of them are objects",
    "rpn.sample.goals": "a picture: (objects, 4) offsets that those should have",
    "rpn.terms.objectness": "a picture: (n,) what each adds to loss_objectness",
    "rpn.terms.box": "a picture: (objects,) what each adds to loss_rpn_box_reg",
    "roi.candidates": "a picture: (n, 4) proposals, then the ground truth itself",
    "roi.match.iou": "a picture: (G, n) overlap of ground truth and candidates",
    "roi.match.decisions": "a picture: (n,) ground truth of each, -1 background, -2 between",
    "roi.sample.indices": "a picture: (r,) candidates that the losses look at, ascending",
    "roi.sample.boxes": "a picture: (r, 4)",
    "roi.sample.labels": "a picture: (r,) the class that each should get, 0 for background",
    "roi.sample.matches": "a picture: (r,) its ground truth",
    "roi.sample.goals": "a picture: (r, 4) offsets of its true class",
    "roi.box_pool.rois": "(R, 5) picture, x1 y1 x2 y2: the boxes that were cropped in training",
    "roi.box_pool.levels": "(R,) the pyramid level that each was cropped from",
    "roi.box_pool.points_x": "(R, w * samples) columns of RoIAlign's samples, in picture pixels",
    "roi.box_pool.points_y": "(R, h * samples) rows of the samples",
    "roi.box_pool.crops": "(R, 7, 7, C)",
    "roi.class_logits": "(R, K)",
    "roi.box_deltas": "(R, 4K) offsets, class after class",
    "roi.terms.classifier": "(R,) what each RoI adds to loss_classifier",
    "roi.terms.box": "(objects,) what each object adds to loss_box_reg",
    "roi.mask_pool.rois": "(objects, 5), and so on as for roi.box_pool: the mask branch's crops",
    "roi.mask_pool.levels": "(objects,)",
    "roi.mask_pool.points_x": "(objects, 28)",
    "roi.mask_pool.points_y": "(objects, 28)",
    "roi.mask_pool.crops": "(objects, 14, 14, C)",
    "roi.mask_logits": "(objects, 28, 28) of the true class",
    "roi.mask_goals": "(objects, 28, 28) what the mask should be, 0..1",
    "roi.terms.mask": "(objects, 28, 28) what each pixel adds to loss_mask",
    "losses": "the five losses by name",
    "detect.box_pool.rois": "(R, 5), and so on as for roi.box_pool: every proposal, in inference",
    "detect.box_pool.levels": "(R,)",
    "detect.box_pool.points_x": "(R, 14)",
    "detect.box_pool.points_y": "(R, 14)",
    "detect.box_pool.crops": "(R, 7, 7, C)",
    "detect.class_logits": "(R, K) of all pictures' proposals together",
    "detect.box_deltas": "(R, 4K)",
    "detect.scores": "a picture: (R, K) probabilities",
    "detect.candidates.rows": "a picture: (c,) proposal of each score above the threshold",
    "detect.candidates.labels": "a picture: (c,) its class",
    "detect.candidates.moved": "a picture: (c, 4) its box after the offsets of that class",
    "detect.candidates.clipped": "a picture: (c, 4) cut off at the picture's borders",
    "detect.candidates.fates": "a picture: (c,) what became of each, as detection.fates.Fate",
    "detect.candidates.suppressors": "a picture: (c,) the candidate that suppressed it, or -1",
    "detect.kept": "a picture: (n,) the candidates that became detections, best first",
    "detect.mask_pool.rois": "(n, 5), and so on as for roi.box_pool: the mask branch's crops",
    "detect.mask_pool.levels": "(n,)",
    "detect.mask_pool.points_x": "(n, 28)",
    "detect.mask_pool.points_y": "(n, 28)",
    "detect.mask_pool.crops": "(n, 14, 14, C)",
    "detect.mask_logits": "(n, 28, 28, K) of every class, the detections of all pictures together",
    "detect.mask_probabilities": "(n, 28, 28) of each detection's own class",
    "detections.boxes": "a picture: (n, 4) in pixels of the original picture",
    "detections.paste_boxes": "a picture: (n, 4) whole pixels that pasting rounds the box to: "
    "first and last column and row of the mask padded by one",
}


class Trace(Mapping[str, Any]):
    """What was recorded, by name: `t["rpn.proposals"]`. NAMES lists the names of the model.

    A name that is recorded again holds the newest value. What a stage does one picture at a time
    stands as a list, one entry a picture. Tensors are given as their arrays.

    Args:
        gradients: whether `gradient` can be asked for.
    """

    def __init__(self, gradients: bool = False) -> None:
        self._values: dict[str, Any] = {}
        self._gradients: dict[tuple[int, int], np.ndarray] = {}
        self._keeps_gradients = gradients
        self._prefix, self._picture = "", -1

    def __getitem__(self, name: str) -> Any:
        if name not in self._values:
            close = get_close_matches(name, self._values, n=3)
            hint = f"did you mean {', '.join(close)}?" if close else "nothing like it was"
            raise KeyError(f"{name!r} was not recorded; {hint}")
        return _as_arrays(self._values[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Trace({', '.join(f'{name}: {_shape(self[name])}' for name in self)})"

    def gradient(self, name: str) -> Any:
        """d loss / d value of what was recorded as Tensors, in the same form; None where backward
        did not come by.

        Args:
            name: of a Tensor, or of a list or dict of them.

        Raises:
            ValueError: the trace was opened without `gradients=True`.
            KeyError: there is no such name.
        """
        if not self._keeps_gradients:
            raise ValueError("gradients were not asked for: open it as trace(gradients=True)")
        self[name]
        return self._gradient_of(self._values[name])

    def _gradient_of(self, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [self._gradient_of(part) for part in value]
        if isinstance(value, Mapping):
            return {name: self._gradient_of(part) for name, part in value.items()}
        node = getattr(value, "node", None)
        if node is None:
            return None
        return _as_arrays(self._gradients.get((id(node), value.output_index)))

    def _add(self, name: str, value: Any) -> None:
        name = self._prefix + name
        if not self._keeps_gradients:
            value = _as_arrays(value)  # lets go of the graph
        if self._picture < 0:
            self._values[name] = value
        elif self._picture == 0:
            self._values[name] = [value]
        else:
            self._values[name].append(value)


@contextmanager
def trace(gradients: bool = False) -> Iterator[Trace]:
    """Record every intermediate of what this thread runs inside this context, in training and in
    inference.

    Args:
        gradients: also keep the gradients that `backward`, called inside the context, brings to
            what was recorded.

    Yields:
        the Trace; it stays usable after the context. Inside another trace only this one records.

    >>> with tm.trace() as t:
    ...     detections = model.detect([image])
    >>> t["rpn.proposals"][0].shape
    """
    active = Trace(gradients)
    before = _active.set(active)
    try:
        yield active
    finally:
        _active.reset(before)


def recording() -> bool:
    """Whether a trace is open: for what has to be computed before it can be recorded."""
    return _active.get() is not None


def record(name: str, value: Any) -> None:
    """Keep a value under a name, if a trace is open; the name gets the open scopes before it.

    Args:
        value: an array or Tensor, or a list or dict of them, or a plain value. Inside `pictures` it
            is the present picture's.
    """
    active = _active.get()
    if active is not None:
        active._add(name, value)


def scope(prefix: str) -> AbstractContextManager[None]:
    """Within this context names get `prefix.` before them."""
    active = _active.get()
    return _NOTHING if active is None else _scoped(active, prefix)


def pictures(items: Iterable[T]) -> Iterable[T]:
    """The items, one a picture; what is recorded while one is worked on is kept as that picture's.

    Only for loops that run to their end: a comprehension, or a `for` without `break`.
    """
    active = _active.get()
    return items if active is None else _one_by_one(active, items)


def note_gradients(node: Any, grads: list[np.ndarray | None]) -> None:
    """For the backward walk: the gradients of all outputs of a node are complete."""
    active = _active.get()
    if active is not None and active._keeps_gradients:
        for index, grad in enumerate(grads):
            if grad is not None:
                active._gradients[id(node), index] = grad


@contextmanager
def _scoped(active: Trace, prefix: str) -> Iterator[None]:
    before, active._prefix = active._prefix, f"{active._prefix}{prefix}."
    try:
        yield
    finally:
        active._prefix = before


def _one_by_one(active: Trace, items: Iterable[T]) -> Iterator[T]:
    try:
        for active._picture, item in enumerate(items):
            yield item
    finally:
        active._picture = -1


def _as_arrays(value: Any) -> Any:
    """Tensors as their arrays, in lists and dicts too; those on a device are copied."""
    from .gpu.array import GpuArray  # late: this module stands below everything
    from .tensor import Tensor

    if isinstance(value, Tensor | GpuArray):
        return value.numpy()
    if isinstance(value, list | tuple):
        return [_as_arrays(part) for part in value]
    if isinstance(value, dict):
        return {name: _as_arrays(part) for name, part in value.items()}
    return value


def _shape(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(_shape(part) for part in value)}]"
    return str(getattr(value, "shape", value))
