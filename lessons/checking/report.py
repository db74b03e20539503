"""A verdict in words: the input, the expected result, the actual one, and the hint."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from .examine import Arguments, Verdict
from .task import Task

WIDTH = 88


def verdict_lines(task: Task, names: Sequence[str], verdict: Verdict) -> list[str]:
    """The lines that a learner reads about a wrong answer.

    Args:
        task: the exercise.
        names: the names of the answer's parameters.
        verdict: what `examine` found.
    """
    fault = verdict.fault
    assert fault is not None
    lines = ["  for", *argument_lines(names, fault.arguments)]
    if fault.has_expected:
        lines += value_lines("expected", fault.expected)
    if fault.has_got:
        lines += value_lines("got     ", fault.got)
    lines += ["", *wrapped(fault.reason, "  ")]
    if fault.printed.strip():
        lines += ["  it printed", textwrap.indent(fault.printed.rstrip()[-600:], "    ")]
    if verdict.hint:
        lead = "  Hint: " if verdict.certain else "  Perhaps: "
        lines += ["", *wrapped(lead.lstrip() + verdict.hint, "  ")]
    return lines


def argument_lines(names: Sequence[str], arguments: Arguments) -> list[str]:
    """The arguments, one below the other, with shapes."""
    return [
        line for pair in zip(names, arguments, strict=False) for line in value_lines(*pair, "    ")
    ]


def value_lines(name: str, value: Any, indent: str = "  ") -> list[str]:
    """ "name  value   (shape) dtype"; tables take several lines."""
    value = value.data if hasattr(value, "requires_grad") else value
    lead = f"{indent}{name}"
    if isinstance(value, np.ndarray):
        text = np.array2string(
            value, precision=5, suppress_small=True, threshold=120, separator=", ", edgeitems=4
        )
        note = f"   {value.shape} {value.dtype}"
        return _hanging(lead + ("  " if indent == "  " else " = "), text, note)
    if isinstance(value, (tuple, list)) and any(isinstance(part, np.ndarray) for part in value):
        parts = [value_lines(f"{name}[{i}]", part, indent) for i, part in enumerate(value)]
        return [line for part in parts for line in part]
    return _hanging(lead + ("  " if indent == "  " else " = "), _short(value), "")


def wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent)


def _short(value: Any) -> str:
    if isinstance(value, (float, np.floating)):
        return f"{value:.6g}"
    text = repr(value)
    return text if len(text) <= 400 else text[:400] + " ..."


def _hanging(lead: str, text: str, note: str) -> list[str]:
    first, *rest = text.splitlines() or [""]
    return [lead + first + ("" if rest else note)] + [
        " " * len(lead) + line + (note if i == len(rest) - 1 else "") for i, line in enumerate(rest)
    ]
