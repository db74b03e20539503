"""Every exercise: its stub is empty, its solution right, each listed mistake found and named."""

import ast
import importlib.util
import re

import pytest

from lessons import FOLDER
from lessons.checking.examine import examine
from lessons.checking.files import ExerciseFile, statements, topics
from lessons.checking.task import KINDS

pytestmark = pytest.mark.lessons

TASKS = [(topic, task) for topic in topics() for task in topic.tasks]
TOPICS = pytest.mark.parametrize("topic", topics(), ids=lambda topic: topic.name)
EVERY = pytest.mark.parametrize(("topic", "task"), TASKS, ids=[task.name for _, task in TASKS])


def stub_file(topic):
    return FOLDER / "exercises" / f"{topic.number}_{topic.name}.py"


def solution_file(topic):
    return FOLDER / "solutions" / f"{topic.number}_{topic.name}.py"


def module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_names_are_unique():
    names = [task.name for _, task in TASKS] + [t.name for t in topics()]
    assert len(names) == len(set(names))


@TOPICS
def test_every_lesson_has_easy_and_real_ones(topic):
    kinds = [task.kind for task in topic.tasks]
    assert 3 <= len(kinds) <= 8 and set(kinds) <= set(KINDS)
    assert solution_file(topic).exists()


@EVERY
def test_the_stub_is_empty_and_says_what_to_do(topic, task):
    file = ExerciseFile(stub_file(topic))
    assert file.is_untouched(task.name)
    text = ast.get_docstring(file.functions[task.name])
    assert text.startswith(f"{task.kind.capitalize()}. ")
    assert re.search(r"Budget: \d+ lines?\b", text)
    assert "Args:" in text and "Returns:" in text
    function = getattr(module(stub_file(topic)), task.name)
    with pytest.raises(NotImplementedError):
        function(*[None] * function.__code__.co_argcount)


@EVERY
def test_there_are_three_hints(topic, task):
    assert len(set(task.hints)) == 3
    solution = ast.unparse(ExerciseFile(solution_file(topic)).functions[task.name].body)
    for hint in task.hints:
        assert hint == hint.strip() and hint[-1] in ".?" and 20 < len(hint) < 400
        assert hint not in [wrong.hint for wrong in task.wrong]
        assert solution not in hint


@EVERY
def test_the_solution_is_right_and_within_its_budget(topic, task):
    path = solution_file(topic)
    assert examine(task, getattr(module(path), task.name)).fault is None
    file = ExerciseFile(path)
    if task.kind == "vectorise":
        assert file.loop(task.name) is None
    stub = ExerciseFile(stub_file(topic)).functions[task.name]
    budget = int(re.search(r"Budget: (\d+)", ast.get_docstring(stub))[1])
    body = statements(file.functions[task.name])
    assert (
        len({n.lineno for part in body for n in ast.walk(part) if hasattr(n, "lineno")}) <= budget
    )


@EVERY
def test_every_listed_mistake_is_rejected_and_named(topic, task):
    assert len(task.wrong) >= 2
    for answer, hint in task.mistakes():
        verdict = examine(task, answer)
        assert verdict.fault is not None, hint
        assert (verdict.hint, verdict.certain) == (hint, True)


def test_no_mistake_is_lost():
    mistakes = [wrong for _, task in TASKS for wrong in task.wrong]
    assert len(mistakes) >= 875
    assert sum(not callable(wrong.answer) for wrong in mistakes) >= 857


@TOPICS
def test_no_text_of_a_solution_stands_in_the_stub(topic):
    handed_out = {
        ast.unparse(n) for n in ast.walk(ExerciseFile(stub_file(topic)).tree) if is_line(n)
    }
    for task in topic.tasks:
        solution = ExerciseFile(solution_file(topic)).functions[task.name]
        for node in ast.walk(solution):
            if is_line(node) and len(ast.unparse(node)) > 24:
                assert ast.unparse(node) not in handed_out


def is_line(node):
    return isinstance(node, ast.stmt) and not isinstance(node, ast.FunctionDef)


@EVERY
def test_what_is_said_after_success(topic, task):
    assert task.after.count(".") >= 2
    for path in re.findall(r"\b(?:tinymaskrcnn|tests|lessons)/[\w/]+\.\w+", task.link):
        assert (FOLDER.parent / path).exists()
