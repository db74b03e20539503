"""Try an answer on many inputs, shrink the first failure, and name the mistake if it is known."""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Flaky

from .compare import difference
from .task import Answer, Task
from .usual import usual_mistake

Arguments = tuple[Any, ...]
Announce = Callable[[Arguments], contextlib.AbstractContextManager[None]]
_PROBES = 40  # inputs on which to compare an answer with the known mistakes
_NEARLY = 0.85  # a guess must agree on this share of them


@dataclass(frozen=True)
class Fault:
    """An input on which the answer is wrong.

    Args:
        arguments: the input.
        reason: what is wrong, in one sentence.
        printed: what the answer printed.
        expected, got: the results, if there are any (`has_expected`, `has_got`).
    """

    arguments: Arguments
    reason: str
    printed: str = ""
    expected: Any = None
    got: Any = None
    has_expected: bool = False
    has_got: bool = False


@dataclass(frozen=True)
class Verdict:
    """Whether an answer is right, and if not, what is wrong with it.

    Args:
        fault: None if the answer is right.
        hint: the hint for the recognised mistake; "" if none is recognised.
        certain: whether the answer agrees with that mistake on every input tried; if not, the hint
            is a guess.
    """

    fault: Fault | None = None
    hint: str = ""
    certain: bool = True


class NotWritten(Exception):
    """The answer still raises NotImplementedError."""


class _Found(Exception):
    """Tells Hypothesis that an input fails."""


@dataclass
class _Trial:
    task: Task
    answer: Answer
    announce: Announce

    def fault(self, arguments: Arguments) -> Fault | None:
        """What is wrong with the answer for these arguments, or None.

        Raises:
            NotWritten: the answer raises NotImplementedError.
        """
        given, printed = copy.deepcopy(arguments), io.StringIO()
        try:
            with self.announce(arguments), _quiet(printed):
                got = self.answer(*given)
        except NotImplementedError as problem:
            raise NotWritten from problem
        except (Exception, SystemExit) as problem:
            return Fault(arguments, _raised(problem, self.answer), printed.getvalue())
        for name, before, after in zip(_names(self.answer), arguments, given, strict=False):
            if not callable(before) and difference(after, before, 0.0) is not None:
                reason = f"it changes its argument {name}; compute in a new array instead"
                return Fault(arguments, reason, printed.getvalue())
        return self._differs(arguments, got, printed) or self._lawless(arguments, got, printed)

    def _differs(self, arguments: Arguments, got: Any, printed: io.StringIO) -> Fault | None:
        if self.task.specification is None:
            return None
        expected = self.task.specification(*copy.deepcopy(arguments))
        reason = self.task.same(got, expected)
        if reason is None:
            return None
        return Fault(arguments, reason, printed.getvalue(), expected, got, True, True)

    def _lawless(self, arguments: Arguments, got: Any, printed: io.StringIO) -> Fault | None:
        for law in self.task.laws:
            try:
                with self.announce(arguments), _quiet(printed):
                    holds = bool(law.holds(self.answer, *copy.deepcopy(arguments)))
            except Exception as problem:
                reason = f"{law.text}; checking this, it {_raised(problem, self.answer)[3:]}"
                return Fault(arguments, reason, printed.getvalue(), got=got, has_got=True)
            if not holds:
                reason = f"this must hold but does not: {law.text}"
                return Fault(arguments, reason, printed.getvalue(), got=got, has_got=True)
        return None


@contextlib.contextmanager
def _unannounced(arguments: Arguments) -> Any:
    yield


def examine(task: Task, answer: Answer, announce: Announce = _unannounced) -> Verdict:
    """Find out whether the answer is right; if not, find a small input where it is wrong, and name
    the mistake.

    Args:
        task: the exercise.
        answer: the learner's function.
        announce: called with the arguments; every call of the answer is within its context.

    Raises:
        NotWritten: the answer raises NotImplementedError.
    """
    trial = _Trial(task, answer, announce)
    for arguments in task.examples:
        if fault := trial.fault(arguments):
            return _recognised(trial, fault)
    fault = _search(trial)
    return _recognised(trial, fault) if fault else Verdict()


def _search(trial: _Trial) -> Fault | None:
    """The smallest input found on which the answer is wrong, or None; the same in every run."""
    last: list[Fault] = []

    @_settings(trial.task.max_cases)
    @given(trial.task.cases)
    def attempt(arguments: Arguments) -> None:
        if fault := trial.fault(arguments):
            last.append(fault)
            raise _Found

    try:
        attempt()
    except _Found:  # Hypothesis ends with the smallest
        return last[-1]
    except Flaky:
        fault = last[-1]
        return Fault(fault.arguments, "it gives different results for the same input")
    return None


def _samples(task: Task) -> list[Arguments]:
    """A sample of inputs of all kinds."""
    some: list[Arguments] = []

    @_settings(_PROBES)
    @given(task.cases)
    def collect(arguments: Arguments) -> None:
        some.append(copy.deepcopy(arguments))

    collect()
    return some


def _settings(count: int) -> Any:
    return settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )


def _recognised(trial: _Trial, fault: Fault) -> Verdict:
    """Find the listed mistake that agrees with the answer on every input tried; if none does, one
    of the usual ones with NumPy. Else guess: the one that agrees on the fault, nearly everywhere,
    and more often than any other.
    """
    probes = [fault.arguments, *trial.task.examples, *_samples(trial.task)]
    mine = [_outcome(trial.answer, probe, trial.announce) for probe in probes]
    never_gives = all(kind == "raises" for kind, _ in mine)
    likely = []
    for wrong, hint in trial.task.mistakes():
        known = _outcome(wrong, probes[0])
        if not _same_outcome(trial.task, mine[0], known):
            continue
        if never_gives and mine[0] != known:  # another reason for the same kind of error
            continue
        agreed = [
            _same_outcome(trial.task, got, _outcome(wrong, probe))
            for got, probe in zip(mine, probes, strict=True)
        ]
        if all(agreed):
            return Verdict(fault, hint)
        if sum(agreed) >= _NEARLY * len(agreed):
            likely.append((sum(agreed), hint))
    if hint := usual_mistake(fault.reason, _wrong_pairs(trial.task, mine, probes)):
        return Verdict(fault, hint)
    if hint := _raised_elsewhere(mine):
        return Verdict(fault, hint)
    nearest = [hint for count, hint in likely if count == max(likely)[0]]
    if len(nearest) == 1 and fault.has_got:
        return Verdict(fault, nearest[0], certain=False)
    return Verdict(fault)


def _raised_elsewhere(mine: Sequence[tuple[str, Any]]) -> str:
    """What an answer that gives a wrong result here raises for other inputs, where that is one of
    the usual mistakes; else "".
    """
    kind, text = next((value for how, value in mine if how == "raises"), (None, ""))
    if kind is None or not (hint := usual_mistake(f"it raises {kind.__name__} ({text})", [])):
        return ""
    return f"For other inputs it raises {kind.__name__} ({' '.join(text.split())}). {hint}"


def _wrong_pairs(
    task: Task, mine: Sequence[tuple[str, Any]], probes: Sequence[Arguments]
) -> list[tuple[Any, Any]]:
    """(what the answer gave, what is right) for each input on which they differ; empty if the
    answer raised anywhere.
    """
    pairs: list[tuple[Any, Any]] = []
    if task.specification is None:
        return pairs
    for (kind, value), arguments in zip(mine, probes, strict=True):
        if kind == "raises":
            return []
        with _quiet(io.StringIO()):
            expected = task.specification(*copy.deepcopy(arguments))
        try:
            differs = task.same(value[0], expected) is not None
        except Exception:  # the task's own comparison may need a result of the right form
            differs = True
        if differs:
            pairs.append((value[0], expected))
    return pairs


def _outcome(
    answer: Answer, arguments: Arguments, announce: Announce = _unannounced
) -> tuple[str, Any]:
    """("gives", (result, arguments afterwards)) or ("raises", (type of error, its text))."""
    given = copy.deepcopy(arguments)
    try:
        with announce(arguments), _quiet(io.StringIO()):
            got = answer(*given)
    except (Exception, SystemExit) as problem:
        return "raises", (type(problem), str(problem))
    return "gives", (got, given)


def _same_outcome(task: Task, mine: tuple[str, Any], known: tuple[str, Any]) -> bool:
    if mine[0] != known[0]:
        return False
    if mine[0] == "raises":
        return mine[1][0] is known[1][0]
    (got, left), (wrong, wrong_left) = mine[1], known[1]
    try:
        if task.same(got, wrong) is not None:
            return False
    except Exception:  # the task's own comparison may need a result of the right form
        return False
    kept = zip(left, wrong_left, strict=True)
    return all(callable(a) or difference(a, b, 0.0) is None for a, b in kept)


def _raised(problem: BaseException, answer: Answer) -> str:
    """Such as "it raises ZeroDivisionError (division by zero) in line 23: return a / b"."""
    file = inspect.unwrap(answer).__code__.co_filename
    frames = [f for f in traceback.extract_tb(problem.__traceback__) if f.filename == file]
    place = f" in line {frames[-1].lineno}: {frames[-1].line}" if frames else ""
    text = " ".join(str(problem).split())
    return f"it raises {type(problem).__name__}{f' ({text})' if text else ''}{place}"


def _names(answer: Answer) -> list[str]:
    return list(inspect.signature(answer).parameters)


@contextlib.contextmanager
def _quiet(printed: io.StringIO) -> Any:
    """Keep what is printed, and silence warnings: a NaN shows up in the result anyway."""
    with (
        contextlib.redirect_stdout(printed),
        warnings.catch_warnings(),
        np.errstate(all="ignore"),
    ):
        warnings.simplefilter("ignore")
        yield
