"""Both pages as HTML, each complete in one file: nothing is loaded from elsewhere."""

from __future__ import annotations

import html
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any

import numpy as np

from ... import __version__
from ...errors import NonFiniteError, printable, reason
from ...models.mask_rcnn import MaskRCNN
from ...tracing import Trace
from .. import colours
from ..derived import trace
from .code import code_of_steps
from .collect import collect
from .learning import collect_learning, collect_weights
from .pack import Pack

logger = logging.getLogger(__name__)
SHARED = ("data", "boxes", "charts", "stage", "losses")
SCRIPTS = (
    *SHARED,
    *(
        "sheet",
        "formulas",
        "sums",
        "story",
        "whatif",
        "about",
        "inference",
        "learning",
        "overview",
        "walk",
    ),
)
TIMELINE_SCRIPTS = (*SHARED, "timeline")
ARROWS = "<kbd>←</kbd> <kbd>→</kbd>"
KEYS = (
    f"{ARROWS} steps · hover or <kbd>Tab</kbd> for details · click to follow a thing through all "
    "steps · <kbd>Esc</kbd> lets go"
)
TIMELINE_KEYS = f"{ARROWS} moments of training"


@np.errstate(all="ignore")  # for weights that are too large; `require_finite` reports them
def explain_page(
    model: MaskRCNN,
    image: np.ndarray,
    classes: Sequence[str],
    target: Mapping[str, Any] | None = None,
    title: str = "image",
    gradients: bool = True,
    weights: bool = True,
    t: Trace | None = None,
) -> str:
    """The page of one image, as HTML.

    If learning or weights cannot be shown, a line is logged and the page says what is missing.

    Args:
        model: in eval mode. With `gradients`, its parameters' gradients are gone afterwards.
        image: (C, H, W) float32 in 0..1.
        classes: label k is classes[k - 1].
        target: boxes, labels, masks (see `MaskRCNN.forward`). With a target the page also shows
            matching, losses and errors.
        title: the image's name.
        gradients: with a target, also run backward and show where gradients go.
        weights: whether to summarise the model's weights.
        t: what `trace_of` gave for the same image, if it is at hand.

    Raises:
        InputError: the image or the target cannot be used.
        NonFiniteError: the model computes values that are not finite.
    """
    pack, missing = Pack(), {}  # type: Pack, dict[str, str]

    def part(name: str, make: Callable[[], Any]) -> Any:
        try:
            return make()
        except Exception as problem:
            missing[name] = reason(problem)
            logger.warning("%s: the page lacks %s: %s", title, name, missing[name])
            return None

    t = trace_of(model, image, target) if t is None else t
    require_finite(t)
    content: dict[str, Any] = {"title": title, "version": __version__, "colours": colours.THINGS}
    content |= collect(pack, model, t, image, classes)
    content |= {"levelColours": colours.LEVELS, "lossColours": colours.LOSSES, "learning": None}
    content["channelColours"] = colours.CHANNELS
    if target is not None:
        run = (lambda: _gradients_of(model, image, target)) if gradients else (lambda: None)
        slopes = part("gradients", run)
        content["learning"] = part("learning", lambda: collect_learning(pack, model, t, slopes))
        if gradients:
            model.zero_grad()
    state = model.state_dict() if weights else {}
    content["weights"] = part("weights", lambda: collect_weights(pack, state)) or []
    content |= {"missing": missing, "code": code_of_steps()}
    return page("every stage of", title, KEYS, SCRIPTS, pack.text(content))


@np.errstate(all="ignore")
def trace_of(model: MaskRCNN, image: np.ndarray, target: Mapping[str, Any] | None) -> Trace:
    """A trace of what the page shows: an image's detections, and with a target also its losses."""
    with trace() as t:
        if target is None:
            model.detect([image])
        else:
            model.evaluate_losses([image], [dict(target)], np.random.default_rng(0))
    return t


def require_finite(t: Trace) -> None:
    """Raise NonFiniteError if the model's results are not finite, so that no page can show them."""
    for name in ("rpn.objectness", "rpn.deltas", "detect.class_logits", "detect.box_deltas"):
        if not np.isfinite(t[name]).all():
            raise NonFiniteError(
                f"the model computes {name} that are not finite: no page shows them"
            )


def _gradients_of(model: MaskRCNN, image: np.ndarray, target: Mapping[str, Any]) -> Trace:
    """The trace of the same losses once more, now with backward."""
    model.zero_grad()
    with trace(gradients=True) as t:
        losses = model.losses([image], [dict(target)], np.random.default_rng(0))
        sum(losses.values()).backward()  # type: ignore[union-attr]
    return t


def timeline_page(moments: Sequence[str], title: str) -> str:
    """The page with a slider over moments of a training run.

    Args:
        moments: texts of `timeline.moment`, in the order of their steps; the titles tell several
            images apart.
        title: the image's name.
    """
    return page("learning to see", title, TIMELINE_KEYS, TIMELINE_SCRIPTS, "\n".join(moments))


def page(lead: str, title: str, keys: str, scripts: Sequence[str], data: str) -> str:
    """The template, with its style, scripts and data filled in; `keys` is HTML."""
    script = heat_table() + "\n".join(page_file(f"{name}.js") for name in scripts)
    parts = {
        "LEAD": html.escape(lead),
        "KEYS": keys,
        "TITLE": html.escape(printable(title)),
        "STYLE": page_file("style.css") + page_file("walk.css"),
        "VARIABLES": colour_variables(),
        "SCRIPT": f'"use strict";\n{script}',
        "DATA": data,
    }
    return fill(page_file("page.html"), parts)


def page_file(name: str) -> str:
    """A text of which pages are made."""
    return (files(__package__) / "page" / name).read_text(encoding="utf-8")


def fill(template: str, parts: Mapping[str, str]) -> str:
    """A template with each %%NAME%% replaced; the parts themselves are not searched."""
    before, *rest = template.split("%%")  # TITLE, text, STYLE, text, ...
    return before + "".join(parts[piece] if i % 2 == 0 else piece for i, piece in enumerate(rest))


def colour_variables() -> str:
    """The colours of things as CSS variables."""
    named = {name.replace(" ", "-"): value for name, value in colours.THINGS.items()}
    return "".join(f"--{name}:{value};" for name, value in named.items())


def heat_table() -> str:
    """A script's line with sixty-four colours from dark to light, perceptually equally spaced."""
    from matplotlib import colormaps

    table = colormaps[colours.HEAT](np.linspace(0, 1, 64))[:, :3]
    rows = [[int(v) for v in row] for row in (table * 255 + 0.5)]
    return f"const VIRIDIS = {json.dumps(rows)};\n"
