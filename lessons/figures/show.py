"""Show figures and source code where a lesson is read: inline in a notebook, on a built page or
where the page runs its cells, or in a script as one line that says where to look.

Nothing opens a window. A script's figures are written to its clone's runs/lessons/NAME/, or to the
folder that TINYMASKRCNN_FIGURES names.
"""

from __future__ import annotations

import base64
import html
import inspect
import io
import os
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from tinymaskrcnn.files import write_atomic

from .figure import NOT_DRAWN, as_picture

_CLONE = Path(__file__).resolve().parents[2]
_count = 0
# Where cells run in a page: takes "figure", a data address and the caption, or "source", the code
# and its place (lessons/site/in_page.py)
receiver: Callable[[str, str, str], None] | None = None


def show(thing: Any, caption: str = "") -> None:
    """Show a picture, or the source of a function, class or module of this package.

    Args:
        thing: a PIL image or a matplotlib figure; or a function (compiled or not), a class or a
            module.
        caption: says what can be seen; it is printed below the image, and read to those who cannot
            see it.

    Raises:
        TypeError: the thing is none of these.
    """
    if isinstance(thing, Image.Image):
        _show_picture(thing, caption)
    elif hasattr(thing, "savefig"):
        _show_picture(as_picture(thing), caption)
    else:
        _show_source(thing)


def _show_picture(picture: Image.Image, caption: str) -> None:
    if picture is NOT_DRAWN:
        print(f"no figure ({caption}): this needs the package matplotlib: pip install matplotlib")
        return
    if receiver is not None:
        receiver("figure", data_address(_png(picture)), caption)
        return
    if _in_notebook():
        from IPython.display import HTML, display

        source = data_address(_png(picture))
        text = html.escape(caption)
        image = f'<img src="{source}" alt="{text}">'
        display(HTML(f"<figure>{image}<figcaption>{text}</figcaption></figure>"))
        return
    global _count
    _count += 1
    folder = _figure_folder()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"figure_{_count}.png"
    write_atomic(path, _png(picture))
    print(f"figure {_count}: {caption} -> {path}")


def _show_source(thing: Any) -> None:
    thing = getattr(thing, "py_func", thing)  # a Numba kernel's Python function
    thing = inspect.unwrap(thing)  # a cached function's own function
    lines, start = inspect.getsourcelines(thing)
    path = Path(inspect.getfile(thing)).resolve()
    place = f"{path.relative_to(_CLONE)}, line {max(start, 1)}"
    code = textwrap.dedent("".join(lines))
    if receiver is not None:
        receiver("source", code, place)
    elif _in_notebook():
        from IPython.display import Markdown, display

        display(Markdown(f"`{place}`\n\n```python\n{code}\n```"))
    else:
        print(f"read {thing.__name__}: {place}")


def _in_notebook() -> bool:
    """Whether this runs in a notebook, where outputs are shown."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


def _figure_folder() -> Path:
    if given := os.environ.get("TINYMASKRCNN_FIGURES"):
        return Path(given)
    script = getattr(sys.modules["__main__"], "__file__", None)
    if script is None:
        return Path("runs") / "lessons"
    return Path(script).resolve().parents[1] / "runs" / "lessons" / Path(script).stem


def data_address(png: bytes) -> str:
    """An image as an address that pages can show."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
