"""Turn a Python file into a page. Lessons are in jupytext's percent format. An exercise file is
shown as it is, under the first sentence of its docstring, and is not run.
"""

from __future__ import annotations

import ast
import re
from typing import Any

import jupytext
import nbformat


def read(text: str) -> Any:
    """The notebook for the text of a lesson or an exercise file."""
    return _lesson(text) if text.startswith("# %%") else _exercises(text)


def _lesson(text: str) -> Any:
    notebook = jupytext.reads(text, fmt="py:percent")
    notebook.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    return notebook


def _exercises(text: str) -> Any:
    about = ast.get_docstring(ast.parse(text)) or "Exercises"
    title, _, rest = " ".join(about.split()).partition(". ")
    names = re.findall(
        r"^def (\w+)\(.*\n    \"\"\"(?:Fill|Vectorise|Extend)\. ", text, re.MULTILINE
    )
    commands = "\n".join(f"- `tinymaskrcnn learn {name}`" for name in names)
    head = (
        f"# {title}\n\n{rest}\n\nThe file is in your clone; each answer is checked by\n\n{commands}"
    )
    cells = [
        nbformat.v4.new_markdown_cell(head),
        nbformat.v4.new_markdown_cell(f"```python\n{text.rstrip()}\n```"),
    ]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["mystnb"] = {"execution_mode": "off"}
    return notebook
