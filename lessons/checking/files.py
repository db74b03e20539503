"""Read the exercise files without running them: which tasks there are, where they are, and which
are still untouched.
"""

from __future__ import annotations

import ast
import importlib
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lessons import FOLDER, lesson_files, number_of, topic_of
from tinymaskrcnn.errors import InputError

from .task import Task

CHECKS = FOLDER / "exercises" / "checks"


def exercises_folder() -> Path:
    """The folder of the learner's answers: $TINYMASKRCNN_EXERCISES, else lessons/exercises."""
    return Path(os.environ.get("TINYMASKRCNN_EXERCISES") or FOLDER / "exercises")


@dataclass(frozen=True)
class Topic:
    """A lesson that has exercises.

    Args:
        number: such as "06".
        name: such as "boxes_iou".
    """

    number: str
    name: str

    @property
    def file(self) -> Path:
        """The learner's file; if there is none, the original with its stubs."""
        own = exercises_folder() / f"{self.number}_{self.name}.py"
        return own if own.exists() else FOLDER / "exercises" / own.name

    @property
    def tasks(self) -> tuple[Task, ...]:
        return tuple(importlib.import_module(f"lessons.exercises.checks.{self.name}").TASKS)

    def task(self, name: str) -> Task:
        return next(task for task in self.tasks if task.name == name)


@cache
def topics() -> tuple[Topic, ...]:
    """All topics that have checks, in reading order."""
    known = [Topic(number_of(lesson), topic_of(lesson)) for lesson in lesson_files()]
    return tuple(topic for topic in known if (CHECKS / f"{topic.name}.py").exists())


def shown(path: Path) -> str:
    """A path in its shortest form: relative to the current folder if possible."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


class ExerciseFile:
    """A learner's file, read but not run.

    Raises:
        InputError: it cannot be read, or is not Python; the message names the line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            source = path.read_text(encoding="utf-8")
            self.tree = ast.parse(source, str(path))
        except SyntaxError as problem:
            line = (problem.text or "").strip()
            raise InputError(
                f"{shown(path)}, line {problem.lineno}: {problem.msg}: {line}"
            ) from problem
        except FileNotFoundError as problem:
            raise InputError(
                f"{shown(path)} is missing; git checkout {shown(path)} brings back the empty one"
            ) from problem
        except (OSError, ValueError) as problem:
            raise InputError(f"{shown(path)}: {problem}") from problem
        self.text = source
        self.functions = {n.name: n for n in self.tree.body if isinstance(n, ast.FunctionDef)}

    def line(self, name: str) -> int:
        """The line where a function begins.

        Raises:
            InputError: the file has no function of that name.
        """
        if name not in self.functions:
            raise InputError(f"{shown(self.path)}: there is no function {name} any more")
        return self.functions[name].lineno

    def source(self, name: str) -> str:
        """The text of the function and of the functions of this file that it calls.

        Raises:
            InputError: the file has no function of that name.
        """
        self.line(name)
        parts = [ast.get_source_segment(self.text, node) for node in self._reached(name)]
        return "\n".join(filter(None, parts))

    def is_untouched(self, name: str) -> bool:
        """Whether the function does nothing but raise NotImplementedError."""
        self.line(name)
        body = statements(self.functions[name])
        return len(body) == 1 and "NotImplementedError" in ast.unparse(body[0])

    def loop(self, name: str) -> tuple[int, str] | None:
        """(line, kind) of the first loop in the function, or in functions of this file it calls."""
        for function in self._reached(name):
            for node in ast.walk(function):
                if what := _loop(node):
                    return node.lineno, what  # type: ignore[attr-defined]
        return None

    def _reached(self, name: str) -> list[ast.FunctionDef]:
        names = [name]
        for known in names:
            for node in ast.walk(self.functions[known]):
                is_new = isinstance(node, ast.Name) and node.id not in names
                if is_new and node.id in self.functions:  # type: ignore[attr-defined]
                    names.append(node.id)  # type: ignore[attr-defined]
        return [self.functions[known] for known in names]


def statements(function: ast.FunctionDef) -> list[ast.stmt]:
    """The body without its docstring."""
    has_docstring = ast.get_docstring(function) is not None
    return function.body[1:] if has_docstring else function.body


_LOOPS = {
    ast.For: "a for loop",
    ast.While: "a while loop",
    ast.ListComp: "a comprehension",
    ast.SetComp: "a comprehension",
    ast.DictComp: "a comprehension",
    ast.GeneratorExp: "a comprehension",
}
_HIDDEN_LOOPS = ("map", "vectorize", "apply_along_axis", "frompyfunc", "fromfunction", "fromiter")


def _loop(node: ast.AST) -> str | None:
    for kind, what in _LOOPS.items():
        if isinstance(node, kind):
            return what
    if isinstance(node, ast.Call):
        called = node.func
        name = getattr(called, "id", None) or getattr(called, "attr", None)
        if name in _HIDDEN_LOOPS:
            return f"{name}, which is a loop"
    return None
