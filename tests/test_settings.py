"""settings.py: kinds of values, from Python and from text."""

import pytest

from tinymaskrcnn.settings import (
    NAME,
    YES_OR_NO,
    literal,
    number,
    one_of,
    one_or_several,
    optional,
    several,
    whole,
)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (whole(0), "12", 12),
        (number(), "1e-3", 0.001),
        (number(), "5", 5.0),
        (several(whole(1)), "1,2,", (1, 2)),
        (one_or_several(whole(1)), "8", 8),
        (one_or_several(whole(1)), "8,", (8,)),
        (optional(number()), "0.5", 0.5),
        (optional(number()), "None", None),
        (one_of("a", "b"), "b", "b"),
        (NAME, "anything", "anything"),
        (YES_OR_NO, "TRUE", True),
        (YES_OR_NO, "false", False),
    ],
)
def test_text_is_read_as_its_kind(kind, text, value):
    found = kind.read(text)
    assert found == value and type(found) is type(value)
    assert kind.holds(found)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (whole(1, 5), (0, 6, 1.0, True, "3", None, 10**400)),
        (number(0, 1), (-0.1, 1.1, False, "0.5", float("nan"), float("inf"), 10**400, 1j)),
        (number(), (float("nan"), float("inf"), -float("inf"), 10**400)),
        (several(whole(1), 2), ((1,), (1, 2, 3), (1, 0), 1, "12", {1, 2})),
        (several(whole(1)), ((), [], (0,))),
        (optional(whole(1)), (0, "None", False)),
        (one_of("a"), ("b", "", None, ["a"])),
        (YES_OR_NO, (1, 0, "true", None)),
    ],
)
def test_other_values_are_of_no_kind(kind, wrong):
    assert [value for value in wrong if kind.holds(value)] == []


@pytest.mark.parametrize(
    "text", ["{[]: 1}", "(" * 100_000, "-" * 100_000 + "1", "a\0b", "1 +", "9" * 5000]
)
def test_what_python_cannot_read_stays_text(text):
    assert literal(text) == text
