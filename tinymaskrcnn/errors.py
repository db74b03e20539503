"""Errors that a user can cause and fix, and how the command line reports them: one line and an exit
status.
"""

from __future__ import annotations

import re

LONGEST = 1000  # characters in a message: a damaged file can put megabytes into one
# Control characters, marks that change the direction of writing, halves of characters (surrogates).
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
# Packages that are installed with this one, but that someone may have left out
NEEDED = ("llvmlite", "matplotlib", "numba", "pycocotools", "scipy")


class InputError(ValueError):
    """The user's input cannot be used. The message names the file or argument, its value, and what
    was expected. It is one line; a very long one is cut in the middle.
    """

    def __str__(self) -> str:
        return one_line(super().__str__())


class WeightsError(InputError):
    """A weight file cannot be used: the message names the file and the reason."""


class NonFiniteError(FloatingPointError):
    """A loss became infinite or NaN in training. The message names the term, the step, the image
    and the layer.
    """


def outcome(problem: BaseException) -> tuple[int, str] | None:
    """An error's exit status and its text on one line; None if the error is unexpected."""
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
    elif isinstance(problem, ModuleNotFoundError) and package_of(problem) in NEEDED:
        name = package_of(problem)
        status, text = 2, f"this needs the package {name}: pip install {name}"
    elif isinstance(problem, MemoryError):
        status, text = 1, "not enough memory; try smaller images or a smaller --batch-size"
    else:
        return None
    return status, one_line(text)


def package_of(problem: ModuleNotFoundError) -> str:
    """The package that is missing."""
    return (problem.name or "").partition(".")[0]


def reason(problem: BaseException) -> str:
    """Any error on one line, for a message that says what failed."""
    told = outcome(problem)
    return told[1] if told else one_line(f"{type(problem).__name__}: {problem}")


def one_line(text: str) -> str:
    """The text made `printable`, with each stretch of white space replaced by one space."""
    return printable(" ".join(text.split()))


def printable(text: str) -> str:
    """Make text from a file safe to show: escapes such as \\x1b replace what a terminal would obey,
    what would change the direction of writing, and what no encoding has. At most LONGEST
    characters; longer text is cut in the middle.
    """
    text = _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
    if len(text) <= LONGEST:
        return text
    half = (LONGEST - 5) // 2
    return f"{text[:half]} ... {text[-half:]}"
