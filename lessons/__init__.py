"""The course: NN_topic.py in reading order, exercises/, solutions/, checking/ (their engine).

`load` returns a lesson's definitions without running the lesson, so that tests and checks can use
its one-item versions, which exist nowhere else. How to write a lesson: README.md.
"""

from __future__ import annotations

import ast
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).resolve().parent

_DEFINITIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)


def lesson_files() -> list[Path]:
    """The lessons in reading order: 00, 01, 01b, 02, ..."""
    return sorted(FOLDER.glob("[0-9][0-9]*_*.py"))


def topic_of(path: Path) -> str:
    """ "boxes_iou" of 06_boxes_iou.py."""
    return path.stem.partition("_")[2]


def number_of(path: Path) -> str:
    """ "06" of 06_boxes_iou.py, "01b" of 01b_network.py."""
    return path.stem.partition("_")[0]


@cache
def load(topic: str) -> ModuleType:
    """A lesson's imports, functions, classes and UPPER_CASE constants; nothing else in it is run.

    Args:
        topic: the file's name without number and extension, such as "boxes_iou".

    Raises:
        LookupError: there is no such lesson; the message names all lessons.
    """
    files = {topic_of(path): path for path in lesson_files()}
    if topic not in files:
        raise LookupError(f"no lesson {topic!r}: expected one of {', '.join(files)}")
    path = files[topic]
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    tree.body = [node for node in tree.body if _is_definition(node)]
    module = ModuleType(f"{__name__}.{topic}", ast.get_docstring(tree))
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses look up their own module
    exec(compile(tree, str(path), "exec"), module.__dict__)
    return module


def _is_definition(node: ast.stmt) -> bool:
    """Whether a top-level statement defines something that others may use."""
    if isinstance(node, ast.Assign):
        return all(isinstance(target, ast.Name) and target.id.isupper() for target in node.targets)
    if isinstance(node, ast.AnnAssign):
        return isinstance(node.target, ast.Name) and node.target.id.isupper()
    return isinstance(node, _DEFINITIONS)
