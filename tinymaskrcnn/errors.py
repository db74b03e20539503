"""The errors that a person can cause and mend, and how the command line tells them: in one line,
and by its exit status.
"""

from __future__ import annotations

import re

LONGEST = 1000  # letters of a message: a damaged file can put megabytes into one
# Control characters, marks that turn the direction of writing, halves of characters (surrogates).
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


class InputError(ValueError):
    """What was given cannot be used: the message names the file or argument, its value, and what
    was expected. It is one line, cut in its middle where it is very long.
    """

    def __str__(self) -> str:
        return one_line(super().__str__())


class NonFiniteError(FloatingPointError):
    """A loss became infinite or NaN in training: the message names the term, the step, the picture
    and the layer.
    """


def outcome(problem: BaseException) -> tuple[int, str] | None:
    """The exit status for an error and its text in one line; None for one that nobody foresaw."""
    text = str(problem)
    if isinstance(problem, InputError):
        status = 2
    elif isinstance(problem, NonFiniteError):
        status = 1
    elif isinstance(problem, KeyboardInterrupt):
        status, text = 130, "stopped"
    elif isinstance(problem, OSError):
        status = 1
        if problem.filename:
            text = f"{problem.filename}: {problem.strerror}"
    elif isinstance(problem, MemoryError):
        status, text = 1, "not enough memory; smaller pictures or --batch-size would need less"
    else:
        return None
    return status, one_line(text)


def reason(problem: BaseException) -> str:
    """Any error in one line, for a message that says what failed."""
    told = outcome(problem)
    return told[1] if told else one_line(f"{type(problem).__name__}: {problem}")


def one_line(text: str) -> str:
    """The text as `printable` has it, with single spaces in place of all white space."""
    return printable(" ".join(text.split()))


def printable(text: str) -> str:
    """A text from a file, fit to be shown: escapes such as \\x1b in place of what a terminal would
    obey, what would turn the text beside it, and what no encoding has; at most LONGEST letters, a
    longer one is cut in its middle.
    """
    text = _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
    if len(text) <= LONGEST:
        return text
    half = (LONGEST - 5) // 2
    return f"{text[:half]} ... {text[-half:]}"
