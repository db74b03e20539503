"""The playground as HTML, complete in one file: nothing is loaded from elsewhere.

The scripts are of two kinds. The engine's also make the worker, in which the model runs; they
touch no page. The others are the page itself. Parts that the report shares stand in
viz/report/page.
"""

from __future__ import annotations

import html
import json
from importlib.resources import files

from ..errors import printable
from ..models.mask_rcnn import MaskRCNN
from ..viz import colours
from ..viz.report.pack import Pack
from ..viz.report.pages import colour_variables, fill, heat_table, page_file
from .pack import pack_model

SHARED_ENGINE, SHARED_VIEWS = ("data", "boxes"), ("charts", "stage")
ENGINE = ("detection", "ops", "model", "worker")
VIEWS = (
    *("asking", "scene", "findings", "panels"),
    *("image", "anchors", "proposals", "region", "play"),
)


def play_page(model: MaskRCNN, title: str, dtype: str | None = None) -> str:
    """The page of a model, as HTML.

    Args:
        model: of `maskrcnn_tiny`, for grey or RGB images; `model.classes` names its classes.
        title: the model's name.
        dtype: of the weights in the page, "f2" or "f4". None: float16, unless a weight is too large
            for it.

    Raises:
        InputError: the page has no such model.
        NonFiniteError: a weight is not finite.
    """
    pack = Pack()
    content = pack_model(pack, model, dtype)
    known = {
        "title": title,
        "things": colours.THINGS,
        "levels": colours.LEVELS,
    }
    parts = {
        "TITLE": html.escape(printable(title)),
        "STYLE": page_file("style.css") + _file("play.css"),
        "VARIABLES": colour_variables(),
        "DATA": pack.text(content),
        "ENGINE": _scripts(SHARED_ENGINE, ENGINE),
        "VIEWS": heat_table()
        + f"const COLOURS = {_json(known)};\n"
        + _scripts(SHARED_VIEWS, VIEWS),
    }
    return fill(_file("play.html"), parts)


def _scripts(shared: tuple[str, ...], own: tuple[str, ...]) -> str:
    texts = [page_file(f"{name}.js") for name in shared] + [_file(f"{name}.js") for name in own]
    return "\n".join(["", *texts])


def _json(value: object) -> str:
    """JSON that may stand in a script."""
    return json.dumps(value).replace("<", "\\u003c")


def _file(name: str) -> str:
    return (files(__package__) / "page" / name).read_text(encoding="utf-8")
