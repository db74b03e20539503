"""The declarations that a check module makes about each exercise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis.strategies import SearchStrategy

from .compare import difference
from .solutions import changed

Answer = Callable[..., Any]
KINDS = {
    "build": "a part of the model",
    "fill": "about ten minutes",
    "vectorise": "no loops",
    "extend": "about an hour",
}


@dataclass(frozen=True)
class Wrong:
    """A common mistake, and the hint that leads out of it.

    Args:
        answer: takes the task's arguments; or what makes the mistake of the solution: a dict of
            lines (or parts of lines) of it and those that take their place.
        hint: one or two sentences that say what the answer computes and what to look at, but never
            the code.
    """

    answer: Answer | Mapping[str, str]
    hint: str


@dataclass(frozen=True)
class Law:
    """Something that must hold for any right answer.

    Args:
        text: what must hold, as a sentence.
        holds: takes the answer and the task's arguments, and returns whether it holds.
    """

    text: str
    holds: Callable[..., bool]


@dataclass(frozen=True)
class Task:
    """One exercise.

    Args:
        name: the name of the function to write; no two tasks of the course share one.
        kind: "build" (a part of the model, which lessons/mine.py can run), "fill", "vectorise" (the
            function must not loop) or "extend".
        cases: draws tuples of arguments, small ones first, since learners see the failing ones.
        after: two sentences to print after a right answer.
        link: what to read next, and where.
        hints: a nudge, a plan, and almost the answer, to be shown one after another.
        wrong: mistakes with their hints; if two agree on every input tried, the first is named.
        specification: takes the arguments, returns the right answer; None if only laws decide.
        laws: what else must hold.
        examples: arguments to try first.
        picture: (arguments, expected, got) to a PIL image, or None.
        same: (got, expected) to a sentence that says what differs, or None.
        max_cases: how many inputs to try an answer on.
    """

    name: str
    kind: str
    cases: SearchStrategy[tuple[Any, ...]]
    after: str
    link: str
    hints: tuple[str, str, str]
    wrong: Sequence[Wrong]
    specification: Answer | None = None
    laws: Sequence[Law] = ()
    examples: Sequence[tuple[Any, ...]] = ()
    picture: Callable[[tuple[Any, ...], Any, Any], Any] | None = None
    same: Callable[[Any, Any], str | None] = difference
    max_cases: int = 100

    def mistakes(self) -> list[tuple[Answer, str]]:
        """Each mistake as a whole answer, with its hint."""
        return [
            (w.answer if callable(w.answer) else changed(self.name, w.answer), w.hint)
            for w in self.wrong
        ]
