"""Turn a Python file into a page. Lessons are in jupytext's percent format. An exercise file is
shown exercise by exercise, under the first sentence of its docstring, and is not run.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

import jupytext
import nbformat

KINDS = re.compile(r"(Build|Fill|Vectorise|Extend)\. ")  # how an exercise's docstring begins


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
    tree = ast.parse(text)
    about = ast.get_docstring(tree) or "Exercises"
    title, _, rest = " ".join(about.split()).partition(". ")
    cells = [f"# {title}\n\n{rest}"]
    for name, code in _blocks(text, tree):
        heading = f"## `{name}`\n\n`tinymaskrcnn learn {name}` checks it.\n\n" if name else ""
        cells.append(f"{heading}```python\n{code}\n```")
    notebook = nbformat.v4.new_notebook(cells=[*map(nbformat.v4.new_markdown_cell, cells)])
    notebook.metadata["mystnb"] = {"execution_mode": "off"}
    return notebook


def _blocks(text: str, tree: ast.Module) -> Iterator[tuple[str, str]]:
    """(exercise, code) from the top of the file to its end: what comes before the first function,
    then each exercise with the functions it is given. Joined by empty lines they are the file.
    """
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    exercises = [f for f in functions if KINDS.match(ast.get_docstring(f) or "")]
    ends = [functions[0].lineno - 1, *(f.end_lineno for f in exercises)]
    lines, start = text.splitlines(), 0
    for name, end in zip(["", *(f.name for f in exercises)], ends, strict=True):
        yield name, "\n".join(lines[start:end]).strip("\n")
        start = end
