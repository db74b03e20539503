"""What a check module declares about each exercise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis.strategies import SearchStrategy

from .compare import difference

Answer = Callable[..., Any]
KINDS = {"fill": "about ten minutes", "vectorise": "no loops", "extend": "about an hour"}


@dataclass(frozen=True)
class Wrong:
    """A mistake that people make, as a complete answer, and the hint that leads out of it.

    Args:
        answer: takes the task's arguments. hint: one or two sentences; says what the answer
            computes and what to look at, never the code.
    """

    answer: Answer
    hint: str


@dataclass(frozen=True)
class Law:
    """Something that must hold for any right answer.

    Args:
        text: what holds, as a sentence. holds: takes the answer and the task's arguments, gives
            whether it does.
    """

    text: str
    holds: Callable[..., bool]


@dataclass(frozen=True)
class Task:
    """One exercise.

    Args:
        name: of the function that the learner writes; no two tasks of the course share one.
        kind: "fill", "vectorise" (its function may not loop) or "extend".
        cases: draws tuples of arguments; small ones first, for they are what is shown.
        after: two sentences for who has solved it. link: what to read on, and where.
        wrong: mistakes with their hints; where two agree on everything tried, the first is named.
        specification: takes the arguments, gives the right answer; None if only laws decide.
        laws: what must hold besides. examples: arguments that are tried first.
        picture: (arguments, expected, got) to a PIL picture, or None for none.
        same: (got, expected) to what differs, as a sentence, or None.
        max_cases: how many inputs an answer is tried on.
    """

    name: str
    kind: str
    cases: SearchStrategy[tuple[Any, ...]]
    after: str
    link: str
    wrong: Sequence[Wrong]
    specification: Answer | None = None
    laws: Sequence[Law] = ()
    examples: Sequence[tuple[Any, ...]] = ()
    picture: Callable[[tuple[Any, ...], Any, Any], Any] | None = None
    same: Callable[[Any, Any], str | None] = difference
    max_cases: int = 100
