"""lessons.load: the definitions of a lesson, and nothing else of it."""

import pytest

import lessons

LESSON = '''# %% [markdown]
# # Title

# %%
from __future__ import annotations

import dataclasses
import math as m

SIZE = 3
NAMES: list[str] = ["a"]
lower = 1 / 0

# %%
def area(r):
    """Of a circle."""
    return m.pi * r**2 * SIZE


@dataclasses.dataclass
class Point:
    x: float


assert area(1) == 0
raise SystemExit("run")
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "07_circles.py").write_text(LESSON)
    (tmp_path / "notes.py").write_text("raise SystemExit")
    monkeypatch.setattr(lessons, "FOLDER", tmp_path)
    lessons.load.cache_clear()
    yield tmp_path
    lessons.load.cache_clear()


def test_definitions_only(folder):
    module = lessons.load("circles")
    assert module.area(2) == pytest.approx(37.699, abs=1e-3)
    assert module.Point(2.0).x == 2.0 and module.SIZE == 3 and module.NAMES == ["a"]
    assert not hasattr(module, "lower")
    assert module.area.__code__.co_filename == str(folder / "07_circles.py")
    assert module.area.__code__.co_firstlineno == LESSON.splitlines().index("def area(r):") + 1


def test_an_unknown_topic_names_the_known_ones(folder):
    with pytest.raises(LookupError, match="no lesson 'squares': expected one of circles"):
        lessons.load("squares")


def test_real_lessons_load_without_running():
    assert [lessons.topic_of(path) for path in lessons.lesson_files()]
    for path in lessons.lesson_files():
        lessons.load(lessons.topic_of(path))
