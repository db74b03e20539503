"""The playground as HTML, complete in one file: nothing is loaded from elsewhere.

The scripts are of two kinds. The engine's also make the worker, in which the model runs; they
touch no page. The others are the page itself. Parts that the report shares stand in
viz/report/page.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping
from importlib.resources import files
from inspect import getsource
from textwrap import dedent
from typing import Any

from ..detection.anchors import cell_anchors
from ..detection.box_coder import BoxCoder
from ..detection.matcher import Matcher
from ..detection.sampler import BalancedSampler
from ..errors import printable
from ..models.mask_rcnn import MaskRCNN
from ..models.roi_pooling import MultiScaleRoIAlign
from ..models.rpn import RegionProposalNetwork, RPNHead
from ..ops.nms.reference import nms
from ..ops.paste_masks.reference import paste_masks
from ..ops.roi_align.reference import roi_align
from ..ops.sgd.reference import sgd_step
from ..viz import colours
from ..viz.report.pack import Pack
from ..viz.report.pages import colour_variables, fill, heat_table, page_file
from .pack import pack_model

SHARED_ENGINE, SHARED_VIEWS = ("data", "boxes"), ("charts", "stage")
ENGINE = ("detection", "ops", "heads", "moments", "training", "model", "worker")
VIEWS = (
    *("asking", "scene", "findings", "panels"),
    *("image", "anchors", "proposals", "region", "learn", "play"),
)


CODE: dict[str, tuple[Callable[..., Any], ...]] = {  # the functions behind each view
    "image": (MaskRCNN.detect, paste_masks),
    "anchors": (cell_anchors, RPNHead.forward),
    "proposals": (RegionProposalNetwork._select_proposals, nms),
    "region": (MultiScaleRoIAlign.level_of, roi_align, BoxCoder.decode),
    "learn": (
        Matcher._match_blocks,
        BalancedSampler.sample,
        RegionProposalNetwork.losses,
        sgd_step,
    ),
}


def play_page(
    model: MaskRCNN,
    title: str,
    dtype: str | None = None,
    history: Mapping[int, MaskRCNN] | None = None,
) -> str:
    """The page of a model, as HTML.

    Args:
        model: of `maskrcnn_tiny`, for grey or RGB images; `model.classes` names its classes.
        title: the model's name.
        dtype: of the weights in the page, "f2" or "f4". None: float16, unless a weight is too large
            for it.
        history: the model after some steps of its training, to go back and forth through; the last
            one is the model itself.

    Raises:
        InputError: the page has no such model.
        NonFiniteError: a weight is not finite.
    """
    pack = Pack()
    content = pack_model(pack, model, dtype, history)
    known = {
        "title": title,
        "things": colours.THINGS,
        "levels": colours.LEVELS,
        "losses": colours.LOSSES,
    }
    parts = {
        "TITLE": html.escape(printable(title)),
        "STYLE": page_file("style.css") + _file("play.css"),
        "VARIABLES": colour_variables(),
        "DATA": pack.text(content),
        "ENGINE": _scripts(SHARED_ENGINE, ENGINE),
        "VIEWS": heat_table()
        + f"const COLOURS = {_json(known)};\nconst CODE = {_json(_code())};\n"
        + _scripts(SHARED_VIEWS, VIEWS),
    }
    return fill(_file("play.html"), parts)


def _scripts(shared: tuple[str, ...], own: tuple[str, ...]) -> str:
    texts = [page_file(f"{name}.js") for name in shared] + [_file(f"{name}.js") for name in own]
    return "\n".join(["", *texts])


def _code() -> dict[str, list[dict[str, str]]]:
    """For each view, where its functions stand and their texts."""
    return {
        view: [
            {
                "place": f"{one.__module__.replace('.', '/')}.py · {one.__qualname__}",
                "text": dedent(getsource(one)),
            }
            for one in functions
        ]
        for view, functions in CODE.items()
    }


def _json(value: object) -> str:
    """JSON that may stand in a script."""
    return json.dumps(value).replace("<", "\\u003c")


def _file(name: str) -> str:
    return (files(__package__) / "page" / name).read_text(encoding="utf-8")
