"""The course's solutions, and answers that differ from one of them in a line or two."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from lessons import FOLDER

SOLUTIONS = FOLDER / "solutions"


def solution(name: str) -> Callable[..., Any]:
    """A task's solution.

    Raises:
        KeyError: no file of solutions has a function of that name.
    """
    return _names_in(_files()[name])[name]


def changed(name: str, changes: Mapping[str, str]) -> Callable[..., Any]:
    """A task's solution with some of its text replaced, one change after the other.

    Args:
        name: the task's.
        changes: old text, which stands exactly once in the function, to new text; "" is its body.

    Raises:
        KeyError: no file of solutions has a function of that name.
        ValueError: an old text stands there not at all or more than once.
    """
    path = _files()[name]
    text = _functions(path)[name]
    for old, new in changes.items():
        if old == "":
            text = f"{ast.unparse(ast.parse(text).body[0]).partition(chr(10))[0]}\n    {new}"
            continue
        if text.count(old) != 1:
            raise ValueError(f"{path.name}, {name}: {old!r} stands there {text.count(old)} times")
        text = text.replace(old, new)
    answer: dict[str, Any] = {}  # apart: in a body of its own, its name still is the solution's
    exec(compile(text, f"{path.name}, changed", "exec"), _names_in(path), answer)
    return answer[name]


@cache
def _files() -> dict[str, Path]:
    """The file of solutions that each function is in."""
    paths = sorted(SOLUTIONS.glob("[0-9]*.py"))
    return {name: path for path in paths for name in _functions(path)}


@cache
def _functions(path: Path) -> dict[str, str]:
    """The text of each function."""
    source = path.read_text(encoding="utf-8")
    found = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    return {node.name: ast.get_source_segment(source, node) or "" for node in found}


@cache
def _names_in(path: Path) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": f"solutions.{path.stem}"}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), names)
    return names
