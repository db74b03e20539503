"""The exercise engine on small tasks of its own."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import strategies as st

from lessons.checking import Law, Task, Wrong, mistakes
from lessons.checking.compare import difference
from lessons.checking.examine import NotWritten, examine
from lessons.checking.report import verdict_lines
from lessons.checking.solutions import changed, solution
from lessons.checking.strategies import arrays

DOUBLE = Task(
    name="double",
    kind="fill",
    specification=lambda x: 2 * x,
    cases=st.tuples(arrays(st.tuples(st.integers(1, 6)))),
    after="",
    link="",
    hints=("", "", ""),
    wrong=[
        Wrong(lambda x: x + 2, "You add two."),
        Wrong(lambda x: x**2, "You square."),
        Wrong(lambda x: x / 0 if isinstance(x, int) else 1 // 0, "You divide by zero."),
    ],
)


def test_a_right_answer():
    assert examine(DOUBLE, lambda x: x + x).fault is None


def test_the_input_shown_is_the_smallest():
    verdict = examine(DOUBLE, lambda x: np.where(x > 4, 0, 2 * x))
    np.testing.assert_array_equal(verdict.fault.arguments[0], [5])
    assert verdict.hint == ""
    lines = verdict_lines(DOUBLE, ["x"], verdict)
    assert any(line.strip().startswith("x = [5.]   (1,) float32") for line in lines)
    assert "at [0] it has 0, expected 10" in "\n".join(lines)


def test_known_mistakes_are_named():
    for wrong in DOUBLE.wrong:
        verdict = examine(DOUBLE, wrong.answer)
        assert (verdict.hint, verdict.certain) == (wrong.hint, True)


def test_what_agrees_nearly_everywhere_is_a_guess():
    verdict = examine(DOUBLE, lambda x: x + 2 if x[0] != 7 else 3 * x)
    assert (verdict.hint, verdict.certain) == ("You add two.", False)


def test_of_two_that_agree_nearly_everywhere_the_nearer_one_is_the_guess():
    def mine(x):
        return x + 2 if x[0] != 7 else 3 * x

    nearly = Wrong(lambda x: x + 2 if x[0] not in (-9, 7) else 0 * x, "You mostly add two.")
    assert examine(replace(DOUBLE, wrong=[nearly]), mine).hint == "You mostly add two."
    verdict = examine(replace(DOUBLE, wrong=[nearly, *DOUBLE.wrong]), mine)
    assert (verdict.hint, verdict.certain) == ("You add two.", False)
    twins = [DOUBLE.wrong[0], replace(DOUBLE.wrong[0], hint="You add twice one.")]
    assert examine(replace(DOUBLE, wrong=twins), mine).hint == ""


def test_what_agrees_on_the_fault_alone_is_no_hint():
    verdict = examine(DOUBLE, lambda x: x + 2 if len(x) == 1 else 3 * x)
    assert verdict.hint == ""


def test_an_answer_that_never_gives_anything_is_known_by_its_error():
    def other(x):
        raise ZeroDivisionError("for another reason")

    assert examine(DOUBLE, other).hint == ""
    assert examine(DOUBLE, lambda x: 2 * x + 1 // 0).hint == "You divide by zero."


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda x: None, "returns None: is a `return` missing"),
        (lambda x: (2 * x)[None], r"its shape is (1, 1), expected (1,)"),
        (lambda x: "2 x", "returns a str, expected numbers"),
        (lambda x: x > 0, "its dtype is bool, expected float32"),
        (lambda x: x.nothing, "it raises AttributeError"),
        (lambda x: exec("raise SystemExit(3)"), "it raises SystemExit (3)"),
        (lambda x: np.multiply(x, 2, out=x), "it changes its argument x"),
    ],
)
def test_reasons(answer, reason):
    assert reason in examine(DOUBLE, answer).fault.reason


def test_a_line_is_named_where_an_answer_raises():
    def answer(x):
        unused = len(x)
        return x / {}["key"] + unused

    assert "KeyError ('key') in line" in examine(DOUBLE, answer).fault.reason
    assert 'return x / {}["key"] + unused' in examine(DOUBLE, answer).fault.reason


def test_what_it_printed_for_that_input_is_shown():
    def answer(x):
        print("x is", x)
        return 3 * x

    lines = verdict_lines(DOUBLE, ["x"], examine(DOUBLE, answer))
    assert "    x is [1.]" in lines


def test_an_answer_that_changes_its_mind():
    state = iter(range(1000))
    verdict = examine(DOUBLE, lambda x: 2 * x + (next(state) == 7))
    assert "different results for the same input" in verdict.fault.reason


def test_not_written():
    def answer(x):
        raise NotImplementedError

    with pytest.raises(NotWritten):
        examine(DOUBLE, answer)


def test_laws_alone_can_decide():
    task = Task(
        name="even",
        kind="extend",
        cases=DOUBLE.cases,
        laws=[Law("f(-x) is f(x)", lambda f, x: np.array_equal(f(x), f(-x)))],
        after="",
        link="",
        hints=("", "", ""),
        wrong=[],
    )
    assert examine(task, np.abs).fault is None
    assert "does not: f(-x) is f(x)" in examine(task, lambda x: x).fault.reason
    assert (
        "checking this, it raises"
        in examine(
            task, lambda x: np.sqrt(x) if (x > 0).all() else 1 / 0 if (x < 0).any() else x
        ).fault.reason
    )


@pytest.mark.parametrize(
    ("got", "expected", "reason"),
    [
        (1.0000001, 1.0, None),
        (np.float32([1, np.nan]), np.array([1, np.nan]), None),
        ([1, 2], (1, 2), None),
        (3, 4, "3, expected 4"),
        (16859136, 118013952, "16859136, expected 118013952"),
        ([(0, 0)], [(1, 1)], "index 0, index 0: 0, expected 1"),
        ((1,), (1, 2), "it returns a tuple of 1, expected 2 values"),
        ((1, 3), (1, 2), "index 1: 3, expected 2"),
        ({"a": 1}, {"a": 2}, "['a']: 1, expected 2"),
        ({"b": 1}, {"a": 1}, "it returns ['b'], expected a dict of ['a']"),
        (0, None, "it returns 0, expected None"),
    ],
)
def test_differences(got, expected, reason):
    assert difference(got, expected) == reason


def test_a_mistake_may_be_a_change_of_the_solution():
    assert changed("double", {"axis=0": "axis=1"})(np.ones((1, 1, 1))).shape == (1, 4, 1)
    task = replace(DOUBLE, name="double", wrong=[Wrong({"repeat(2, axis=0).": ""}, "Rows, too.")])
    task = replace(task, specification=solution("double"))
    task = replace(task, cases=st.tuples(arrays(st.tuples(*[st.integers(1, 2)] * 3))))
    assert examine(task, solution("double")).fault is None
    assert examine(task, lambda x: np.repeat(x, 2, axis=1)).hint == "Rows, too."


def negative(x):
    return -x


def test_mistakes_are_read_from_a_text():
    read = mistakes(
        r"""
        axis=0 => axis=1
            Along the rows,
            not the columns.
        axis=0 => axis=2
        axis=1 => axis=0
            Both.
        " - 1" =>
            One too many.
        x.repeat(2, axis=0) \
            .repeat(2, axis=1)
            => "y = x\n    return y"
            Not twice.
        y = x.repeat(2, axis=0)
        return double(y)
            Three times.
        negative()
            Below 0.
        """,
        negative,
    )
    assert [wrong.hint for wrong in read[:2]] == ["Along the rows, not the columns.", "Both."]
    assert [wrong.answer for wrong in read[:5]] == [
        {"axis=0": "axis=1"},
        {"axis=0": "axis=2", "axis=1": "axis=0"},
        {" - 1": ""},
        {"x.repeat(2, axis=0) .repeat(2, axis=1)": "y = x\n    return y"},
        {"": "y = x.repeat(2, axis=0)\n    return double(y)"},
    ]
    assert read[5].answer is negative
    assert changed("double", read[4].answer)(np.ones((1, 1, 1))).shape == (4, 2, 1)


@pytest.mark.parametrize(
    "text", ["a => b\n", "    Only a hint.", "a b\n    Hint.", "a.b(1)\n    Hint."]
)
def test_mistakes_that_cannot_be_read(text):
    with pytest.raises(ValueError, match="expected a"):
        mistakes(text)


@pytest.mark.parametrize(
    ("old", "count"), [("axis=", "2 times"), ("axis=3", "0 times"), ("def double_", "0 times")]
)
def test_a_change_must_fit_the_solution_once(old, count):
    with pytest.raises(ValueError, match=f"05_feature_pyramid.py, double: .* stands there {count}"):
        changed("double", {old: ""})
