"""Settings: what each one does and may be, written beside its default.

A setting is a field of a frozen dataclass:

    nms_thresh: float = setting(0.7, SHARE, "IoU above which the lower-scored proposal is dropped")

Every value is then checked in one way (`check`), read from text in one way (`read`), and listed
in one way (`described`).

Not here: the settings themselves (training/recipes.py, models/keywords.py, and the configurations
of the model's parts).
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, dataclass, field
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any

from .errors import InputError

MANY = 1e18  # still a whole number of 64 bits
LARGE = 3e38  # still a float32


@dataclass(frozen=True)
class Kind:
    """What a value may be.

    Args:
        holds: whether a value is of this kind.
        description: the kind in words, such as "a number from 0 to 1".
        read: turns text into such a value; raises ValueError or KeyError for other text.
    """

    holds: Callable[[Any], bool]
    description: str
    read: Callable[[str], Any]


def whole(low: int, high: float = MANY) -> Kind:
    """A whole number in low..high."""
    return Kind(
        lambda v: _is(v, Integral) and low <= v <= high,
        f"a whole number from {low} to {high:g}",
        int,
    )


def number(low: float = -LARGE, high: float = LARGE) -> Kind:
    """A number in low..high."""
    limits = f" from {low:g} to {high:g}" if (low, high) != (-LARGE, LARGE) else ""
    return Kind(lambda v: _is(v, Real) and low <= v <= high, f"a number{limits}", float)


def several(kind: Kind, count: int | None = None) -> Kind:
    """A tuple or list of `count` such values, or of one or more."""
    return Kind(
        lambda v: (
            isinstance(v, tuple | list)
            and (len(v) == count if count else len(v) > 0)
            and all(map(kind.holds, v))
        ),
        f"{count if count else 'one or more'} values, each {kind.description}",
        lambda text: tuple(kind.read(part) for part in text.split(",") if part.strip()),
    )


def one_or_several(kind: Kind) -> Kind:
    """One such value, or a tuple or list of them."""
    more = several(kind)
    return Kind(
        lambda v: kind.holds(v) or more.holds(v),
        f"{kind.description}, or several",
        lambda text: more.read(text) if "," in text else kind.read(text),
    )


def optional(kind: Kind) -> Kind:
    """Such a value, or None."""
    return Kind(
        lambda v: v is None or kind.holds(v),
        f"{kind.description}, or None",
        lambda text: None if text.lower() == "none" else kind.read(text),
    )


def one_of(*names: str) -> Kind:
    """One of these words."""
    words = " or ".join(map(repr, names))
    return Kind(lambda v: isinstance(v, str) and v in names, words, str)


def _is(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


NAME = Kind(lambda v: isinstance(v, str), "a name", str)
TRUTHS = {"true": True, "false": False}
YES_OR_NO = Kind(lambda v: isinstance(v, bool), "True or False", lambda text: TRUTHS[text.lower()])
SHARE = number(0, 1)
COUNT = whole(0, 2**31 - 1)
SAMPLES = whole(1, 2**31 - 1)
SIDE = whole(1, 2**16)  # pixels
SCALE = number(1 / 64, 64)  # pixels per pixel
SEED = whole(0, 2**63)


def setting(default: Any, kind: Kind, does: str) -> Any:
    """A field of a dataclass with its default, what it may be, and one line on what it does."""
    metadata = {"kind": kind, "does": does}
    if isinstance(default, dict):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


def check(name: str, setting: Field, value: Any) -> None:
    """Refuse a value that the setting may not have.

    Raises:
        InputError: names the setting, the value, and what was expected.
    """
    kind = setting.metadata["kind"]
    if not kind.holds(value):
        raise InputError(f"{name}: expected {kind.description}, got {_shown(value)}")


def read(name: str, setting: Field, text: str) -> Any:
    """The value that `--set name=text` gives a setting.

    Raises:
        InputError: it may not have that value; says what was expected.
    """
    kind = setting.metadata["kind"]
    try:
        value = kind.read(text)
    except (ValueError, KeyError):
        value = None
    if not kind.holds(value):
        raise InputError(f"--set {name}={text}: expected {kind.description}")
    return value


def literal(text: str) -> Any:
    """A number, tuple or None as Python writes it, or true or false; other text stays text."""
    if text.lower() in TRUTHS:
        return TRUTHS[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return text


def similar(name: str, names: Iterable[str]) -> str | None:
    """Which of the names was probably meant."""
    return next(iter(get_close_matches(name, names, n=1)), None)


def described(settings: Mapping[str, Field], values: Mapping[str, Any]) -> list[str]:
    """One line for each setting: its name, its value, what it does, and what it may be.

    Args:
        settings: by name.
        values: by name; a setting without one has its default.
    """
    lines = []
    for name, each in settings.items():
        given = f"{name}={_text(values.get(name, each.default))}"
        lines.append(f"{given:<35} {each.metadata['does']} ({each.metadata['kind'].description})")
    return lines


def _text(value: Any) -> str:
    """A value as `--set` reads it."""
    if isinstance(value, tuple | list):
        return ",".join(map(_text, value)) + ("," if len(value) == 1 else "")
    return str(value)


def _shown(value: Any) -> str:
    """A value for a message. Python writes no number of more than 4300 digits."""
    try:
        return repr(value)
    except ValueError:
        return "a number of too many digits"
