"""Every intermediate of a pass by name: `with tm.trace() as t:`.

Each stage of the model calls `record` once it has a result that a person may want to see. Outside a
trace that is one look at a variable, and nothing is computed or kept (2 microseconds of a
prediction: python -m tests.benchmarks.tracing_cost). Inside, arrays are kept as they are, not
copied: look at what is recorded, but never write into it.

It stands above autograd, which it observes, and below every stage that calls it. (The module is not
called `trace`, because the package's `trace` is the function.)

Not here: `tm.trace` itself, which also knows what can be derived from recorded values
(viz/derived.py); the figures of a trace (viz/figures); what each layer gave (`nn.watch_layers`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np

from . import autograd

_active: ContextVar[Trace | None] = ContextVar("active", default=None)

NAMES = {  # every name of the model's trace, and what stands there
    "transform.batch": "(N, H, W, C) the images, resized, normalised and padded",
    "transform.sizes": "height and width of each image after resizing, without padding",
    "transform.original_sizes": "height and width of each image as given",
    "transform.normalisation": "mean and standard deviation per channel: two tuples",
    "transform.targets": "per image: the target in pixels of the resized image, a dict",
    "backbone.body": "bottom-up maps, finest first: a list of (N, H, W, C)",
    "backbone.laterals": "the same after the lateral 1x1 convolutions",
    "backbone.merged": "laterals plus the enlarged level above, before the 3x3 convolutions",
    "backbone.pyramid": "the pyramid's levels, finest first, the pooled one last",
    "rpn.hidden": "levels after the RPN's 3x3 convolutions",
    "rpn.config": "the settings of RPNConfig, by name",
    "rpn.objectness": "(N, M) logits of all anchors of all levels",
    "rpn.deltas": "(N, M, 4) offsets of all anchors",
    "rpn.anchors": "(M, 4) x1 y1 x2 y2 in pixels of the resized image",
    "rpn.level_sizes": "how many of the M anchors each level has",
    "rpn.image_sizes": "as transform.sizes",
    "rpn.top_k": "(N, m) the best anchors of each level, as indices into the M",
    "rpn.top_k_levels": "(m,) the level of each",
    "rpn.scores": "(N, m) the probability of each",
    "rpn.moved": "(N, m, 4) the box of each after the offsets, before clipping",
    "rpn.clipped": "per image: (m, 4) the same clipped to the image",
    "rpn.keep": "per image: (k,) the rows that pass every filter and NMS, best first",
    "rpn.proposal_rows": "per image: (n,) the first of them, which became proposals",
    "rpn.proposals": "per image: (n, 4) the proposals",
    "rpn.outcomes": "per image: (m,) what became of each box, as viz.derived.Outcome",
    "rpn.suppressors": "per image: (m,) the row whose box suppressed it in NMS, -1 for none",
    "rpn.match.iou": "per image: (G, M) overlap of ground truth (without crowds) and anchors",
    "rpn.match.decisions": "per image: (M,) ground truth of each anchor, -1 background, -2 between",
    "rpn.sample.indices": "per image: (n,) anchors that the losses look at, ascending",
    "rpn.sample.is_object": "per image: (n,) whether each is an object",
    "rpn.sample.goals": "per image: (objects, 4) offsets that the objects should have",
    "rpn.terms.objectness": "per image: (n,) what each adds to loss_objectness",
    "rpn.terms.box": "per image: (objects,) what each adds to loss_rpn_box_reg",
    "roi.candidates": "per image: (n, 4) the proposals, then the ground truth itself",
    "roi.match.iou": "per image: (G, n) overlap of ground truth and candidates",
    "roi.match.decisions": "per image: (n,) ground truth of each, -1 background, -2 between",
    "roi.sample.indices": "per image: (r,) candidates that the losses look at, ascending",
    "roi.sample.boxes": "per image: (r, 4)",
    "roi.sample.labels": "per image: (r,) the class that each should get, 0 for background",
    "roi.sample.matches": "per image: (r,) the ground truth of each",
    "roi.sample.goals": "per image: (r, 4) offsets of its true class",
    "roi.box_pool.rois": "(R, 5) image index, x1 y1 x2 y2: the boxes that were cropped in training",
    "roi.box_pool.levels": "(R,) the pyramid level that each was cropped from",
    "roi.box_pool.scales": "map pixels per image pixel of each level",
    "roi.box_pool.sampling_ratio": "samples per bin along each axis",
    "roi.box_pool.points_x": "(R, w * samples) columns of RoIAlign's samples, in image pixels",
    "roi.box_pool.points_y": "(R, h * samples) rows of the samples",
    "roi.box_pool.crops": "(R, 7, 7, C)",
    "roi.class_logits": "(R, K)",
    "roi.box_deltas": "(R, 4K) offsets, class after class",
    "roi.terms.classifier": "(R,) what each RoI adds to loss_classifier",
    "roi.terms.box": "(objects,) what each object adds to loss_box_reg",
    "roi.mask_pool.rois": "(objects, 5), and so on as for roi.box_pool: the mask branch's crops",
    "roi.mask_pool.levels": "(objects,)",
    "roi.mask_pool.scales": "one per level",
    "roi.mask_pool.sampling_ratio": "samples per bin along each axis",
    "roi.mask_pool.points_x": "(objects, 28)",
    "roi.mask_pool.points_y": "(objects, 28)",
    "roi.mask_pool.crops": "(objects, 14, 14, C)",
    "roi.mask_logits": "(objects, 28, 28) of the true class",
    "roi.mask_goals": "(objects, 28, 28) what the mask should be, 0..1",
    "roi.terms.mask": "(objects, 28, 28) what each pixel adds to loss_mask",
    "losses": "the five losses by name",
    "detect.box_pool.rois": "(R, 5), and so on as for roi.box_pool: every proposal, at inference",
    "detect.box_pool.levels": "(R,)",
    "detect.box_pool.scales": "one per level",
    "detect.box_pool.sampling_ratio": "samples per bin along each axis",
    "detect.box_pool.points_x": "(R, 14)",
    "detect.box_pool.points_y": "(R, 14)",
    "detect.box_pool.crops": "(R, 7, 7, C)",
    "detect.class_logits": "(R, K) of the proposals of all images together",
    "detect.box_deltas": "(R, 4K)",
    "detect.config": "the settings of RoIConfig, by name",
    "detect.scores": "per image: (R, K) probabilities",
    "detect.candidates.rows": "per image: (c,) the proposal of each score above the threshold",
    "detect.candidates.labels": "per image: (c,) its class",
    "detect.candidates.scores": "per image: (c,) the score itself",
    "detect.candidates.moved": "per image: (c, 4) its box after the offsets of that class",
    "detect.candidates.clipped": "per image: (c, 4) the same clipped to the image",
    "detect.candidates.keep": "per image: (k,) those of enough size that pass NMS, best first",
    "detect.candidates.outcomes": "per image: (c,) what became of each, as viz.derived.Outcome",
    "detect.candidates.suppressors": "per image: (c,) the candidate that suppressed it, or -1",
    "detect.kept": "per image: (n,) the candidates that became detections, best first",
    "detect.mask_pool.rois": "(n, 5), and so on as for roi.box_pool: the mask branch's crops",
    "detect.mask_pool.levels": "(n,)",
    "detect.mask_pool.scales": "one per level",
    "detect.mask_pool.sampling_ratio": "samples per bin along each axis",
    "detect.mask_pool.points_x": "(n, 28)",
    "detect.mask_pool.points_y": "(n, 28)",
    "detect.mask_pool.crops": "(n, 14, 14, C)",
    "detect.mask_logits": "(n, 28, 28, K) of every class, the detections of all images together",
    "detect.mask_probabilities": "(n, 28, 28) of each detection's own class",
    "detections.boxes": "per image: (n, 4) in pixels of the original image",
    "detections.labels": "per image: (n,)",
    "detections.scores": "per image: (n,)",
    "detections.mask_probabilities": "per image: (n, 28, 28) over the box",
    "detections.image_size": "per image: height and width of the original image",
    "detections.paste": "per image: how masks are pasted, pixels or exact",
    "detections.paste_boxes": "per image: (n, 4) whole pixels that pasting rounds the box to: "
    "first and last column and row of the mask padded by one",
}


@dataclass(frozen=True)
class Derived:
    """A value that a trace computes from others when it is asked for.

    Args:
        needs: names of the others. make: the value from their values, in that order.
    """

    needs: tuple[str, ...]
    make: Callable[..., Any]


class Trace(Mapping[str, Any]):
    """What was recorded, by name: `t["rpn.proposals"]`. NAMES lists the names of the model.

    A name that is recorded again holds the newest value. What a stage does image by image stands as
    a list with one entry per image. Tensors are given as their arrays.

    Args:
        gradients: whether `gradient` can be asked for.
        derived: what can be computed from recorded values, by name. Such a name is there once all
            that it needs was recorded in one pass.
    """

    def __init__(
        self, gradients: bool = False, derived: Mapping[str, Derived] | None = None
    ) -> None:
        self._values: dict[str, Any] = {}
        self._derived = derived or {}
        self._sources: dict[str, list[Any]] = {}  # values that each derived one is computed from
        self._pass, self._pass_of = 0, {}  # type: int, dict[str, int]
        self._computed: dict[str, Any] = {}
        self._gradients: dict[tuple[int, int], np.ndarray] = {}
        self._keeps_gradients = gradients

    def __getitem__(self, name: str) -> Any:
        if name not in self:
            close = get_close_matches(name, self, n=3)
            hint = f"did you mean {', '.join(close)}?" if close else "nothing like it was"
            raise KeyError(f"{name!r} was not recorded; {hint}")
        if name in self._values:
            return _as_arrays(self._values[name])
        if name not in self._computed:
            self._computed[name] = self._derived[name].make(*map(_as_arrays, self._sources[name]))
        return self._computed[name]

    def __contains__(self, name: object) -> bool:
        return name in self._values or name in self._sources

    def __iter__(self) -> Iterator[str]:
        yield from self._values
        yield from self._sources

    def __len__(self) -> int:
        return len(self._values) + len(self._sources)

    def __repr__(self) -> str:
        return f"Trace({', '.join(f'{name}: {_shape(self[name])}' for name in self)})"

    def gradient(self, name: str) -> Any:
        """d loss / d value of what was recorded as Tensors, in the same form; None where no
        gradient arrived.

        Args:
            name: of a Tensor, or of a list or dict of them.

        Raises:
            ValueError: the trace was opened without `gradients=True`.
            KeyError: there is no such name.
        """
        if not self._keeps_gradients:
            raise ValueError("gradients were not asked for: open it as trace(gradients=True)")
        derived = name not in self._values  # has no gradient, in its own form
        return self._gradient_of(self[name] if derived else self._values[name])

    def _gradient_of(self, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [self._gradient_of(part) for part in value]
        if isinstance(value, Mapping):
            return {name: self._gradient_of(part) for name, part in value.items()}
        node = getattr(value, "node", None)
        if node is None:
            return None
        return _as_arrays(self._gradients.get((id(node), value.output_index)))

    def _note_gradients(self, node: autograd.Function, grads: list[Any]) -> None:
        """As an observer of autograd: the gradients of all outputs of a node are complete."""
        for index, grad in enumerate(grads):
            if grad is not None:
                self._gradients[id(node), index] = grad

    def _add(self, name: str, value: Any) -> None:
        if callable(value):
            value = value()
        several = isinstance(value, list) and value and all(map(_has_fields, value))
        if several or _has_fields(value):
            for field in fields(value[0] if several else value):
                parts = [getattr(one, field.name) for one in (value if several else [value])]
                self._add(f"{name}.{field.name}", parts if several else parts[0])
            return
        self._values[name] = value if self._keeps_gradients else _as_arrays(value)  # no graph
        self._pass += name == next(iter(self._values))  # what came first comes again
        self._pass_of[name] = self._pass
        self._renew_sources(name)

    def _renew_sources(self, recorded: str) -> None:
        """Let what is derived follow the newest values, once all that it needs are of one pass: the
        losses of one batch and then the detections of another do not mix.
        """
        for name, derived in self._derived.items():
            of_this_pass = (self._pass_of.get(needed) == self._pass for needed in derived.needs)
            if recorded in derived.needs and all(of_this_pass):
                self._sources[name] = [self._values[needed] for needed in derived.needs]
                self._computed.pop(name, None)


@contextmanager
def open_trace(
    gradients: bool = False, derived: Mapping[str, Derived] | None = None
) -> Iterator[Trace]:
    """Record in a Trace what this thread runs inside this context. Inside another trace only the
    inner one records.

    Args:
        gradients, derived: of the Trace.
    """
    active = Trace(gradients, derived)
    before = _active.set(active)
    try:
        with autograd.observe(active._note_gradients if gradients else None):
            yield active
    finally:
        _active.reset(before)


def recording() -> bool:
    """Whether a trace is open: for what would otherwise not live until it can be recorded."""
    return _active.get() is not None


def record(name: str, value: Any = None, **parts: Any) -> None:
    """Keep a stage's result under its name, if a trace is open.

    Args:
        value: an array or Tensor, a list or dict of them, or a plain value. A dataclass is kept
            field by field, as `name.field`; from a list of dataclasses, one per image, each field
            becomes a list. A function is called for its value, which costs nothing without a trace.
        parts: more such values, each kept under `name.part`.
    """
    active = _active.get()
    if active is None:
        return
    if value is not None:
        active._add(name, value)
    for part, one in parts.items():
        active._add(f"{name}.{part}", one)


def _has_fields(value: Any) -> bool:
    return is_dataclass(value) and not isinstance(value, type)


def _as_arrays(value: Any) -> Any:
    """Tensors as their arrays, in lists and dicts too; those on a device are copied."""
    if isinstance(value, list | tuple):
        return [_as_arrays(part) for part in value]
    if isinstance(value, dict):
        return {name: _as_arrays(part) for name, part in value.items()}
    return value.numpy() if hasattr(value, "numpy") else value


def _shape(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(_shape(part) for part in value)}]"
    return str(getattr(value, "shape", value))
