"""What a page does in a browser, here without one: cells, and exercises checked in one process."""

import ast
import importlib
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from lessons import FOLDER
from lessons.checking import runner
from lessons.checking.files import topics
from lessons.figures import figure, show
from lessons.site import in_page
from lessons.site.running import CLONE, _write


@pytest.fixture
def page(monkeypatch):
    """A page, and what it has posted."""
    posted = []
    monkeypatch.setattr(show, "receiver", None)
    monkeypatch.setattr("sys.dont_write_bytecode", True)  # the page sets it; this resets it
    made = in_page.Page(lambda *message: posted.append(message))
    made.posted = posted
    return made


def printed(page):
    return "".join(text for kind, text, _ in page.posted if kind == "text")


def test_cells_share_their_names(page):
    assert page.run("cell 1", "import math\nx = 3\n\ndef f(y):\n    return x + y")
    assert page.run("cell 2", "print(f(1))\nx = 10\nf(1) + math.inf - math.inf\nf(2)")
    assert printed(page) == "4\n12\n"


def test_a_class_looks_up_its_module(page):
    code = "from dataclasses import dataclass\n\n@dataclass\nclass P:\n    x: 'int' = 1\n\nP()"
    assert page.run("cell 1", code) and printed(page) == "P(x=1)\n"


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("x = [1]\n\nassert x == [2], 'no'", ["AssertionError: no", "cell 7, line 3: assert x =="]),
        (
            "def f():\n    return 1 / 0\n\nf()",
            ["ZeroDivisionError: division by zero", "line 2: ret"],
        ),
        ("x = 1\ny = (", ["SyntaxError: '(' was never closed", "cell 7, line 2: y = ("]),
        ("raise SystemExit(3)", ["SystemExit: 3", "cell 7, line 1: raise"]),
        ("import numba2", ["No module named 'numba2'", "numba2 is not there in the browser"]),
    ],
)
def test_an_error_begins_with_its_last_line(page, code, what):
    assert not page.run("cell 7", code)
    ((kind, text, trace),) = page.posted
    assert kind == "error" and "in_page" not in trace
    lines = text.splitlines()
    assert what[0] in lines[0] and what[1] in "\n".join(lines[1:])
    assert page.run("cell 8", "print('on')")


def test_what_a_cell_shows(page, monkeypatch):
    page.run("cell 1", "from lessons.figures.show import show\nfrom PIL import Image")
    page.run("cell 2", "from lessons.checking import compare\nshow(compare.difference)")
    page.run("cell 3", "show(Image.new('RGB', (2, 2)), 'four pixels')")
    (source, code, place), (kind, address, caption) = page.posted
    assert source == "source" and code.startswith("def difference(")
    assert place.startswith("lessons/checking/compare.py, line ")
    assert (kind, caption) == ("figure", "four pixels") and address.startswith("data:image/png;")


def test_a_figure_that_matplotlib_lacks(page, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    page.run(
        "cell 1", "from lessons.figures.plots import curves\nfrom lessons.figures.show import show"
    )
    assert page.run("cell 2", "show(curves({'a': ([0, 1], [1, 2])}, 'x', 'y'), 'a line')\nprint(1)")
    assert printed(page).splitlines() == [
        "no figure (a line): this needs the package matplotlib: pip install matplotlib",
        "1",
    ]


def test_another_missing_package_is_an_error():
    def draws():
        raise ModuleNotFoundError("No module named 'scipy'", name="scipy")

    with pytest.raises(ModuleNotFoundError):
        figure.as_image(draws)()
    assert figure.as_image(lambda: Image.new("L", (3, 1)))().size == (3, 1)


def test_lessons_need_no_hypothesis():
    code = "import sys; sys.modules['hypothesis'] = None; import lessons.site.in_page"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=FOLDER.parent)


# exercises

NAME = "06_boxes_iou.py"
STUBS = (FOLDER / "exercises" / NAME).read_text(encoding="utf-8")
SOLUTIONS = (FOLDER / "solutions" / NAME).read_text(encoding="utf-8")


@pytest.fixture
def exercises(tmp_path, monkeypatch):
    """A folder for answers, checked in this process, as in a browser."""
    monkeypatch.setenv("TINYMASKRCNN_EXERCISES", str(tmp_path))
    monkeypatch.setattr("lessons.checking.ladder.STATE", tmp_path / "hints.json")
    monkeypatch.setattr("lessons.checking.console.PICTURES", tmp_path)
    here = SimpleNamespace(platform="emscripten")  # it has no executable: no process can be started
    monkeypatch.setattr(runner, "sys", here)
    return tmp_path


def test_answers(page, exercises):
    assert page.check(NAME, SOLUTIONS, "covered_by")
    assert printed(page).startswith("covered_by: right.")
    page.posted.clear()
    assert not page.check(NAME, STUBS, "covered_by")
    assert "covered_by: not written yet" in printed(page)
    page.posted.clear()
    assert not page.check(NAME, STUBS + "\ndef x(:\n", "covered_by")
    assert "invalid syntax" in printed(page)
    page.posted.clear()
    assert page.hint(NAME, STUBS, "covered_by") and "Hint 1 of 3" in printed(page)


def test_a_wrong_answer_reads_as_in_the_command(page, exercises, monkeypatch):
    wrong = SOLUTIONS.replace(
        "def covered_by(a, b):", "def covered_by(a, b):\n    return box_table(a, b)"
    )
    wrong += "\n\ndef box_table(a, b):\n    return np.ones((len(a), len(b)))\n"
    assert not page.check(NAME, wrong, "covered_by")
    assert any(kind == "figure" for kind, *_ in page.posted)
    topic = next(topic for topic in topics() if topic.name == "boxes_iou")
    here = runner.check(topic, ["covered_by"])["covered_by"]
    monkeypatch.undo()
    monkeypatch.setenv("TINYMASKRCNN_EXERCISES", str(exercises))
    elsewhere = runner.check(topic, ["covered_by"])["covered_by"]
    assert (here.status, here.lines) == (elsewhere.status, elsewhere.lines)
    assert "\n".join(here.lines) in printed(page)


# the site


def test_an_exercise_file_in_blocks():
    """Joined, as a page joins them, they are the file again."""
    pytest.importorskip("jupytext")
    reading = importlib.import_module("lessons.site.reading")

    for path in sorted((FOLDER / "exercises").glob("[0-9]*.py")):
        text = path.read_text(encoding="utf-8")
        names, blocks = zip(*reading._blocks(text, ast.parse(text)), strict=True)
        assert "\n\n\n".join(blocks) + "\n" == text
        topic = next(t for t in topics() if t.file.name == path.name)
        assert list(names) == ["", *(task.name for task in topic.tasks)]


def test_the_archive_has_all_that_lessons_read(tmp_path):
    paths = [*(CLONE / "lessons").rglob("*"), *(CLONE / "tinymaskrcnn").rglob("*")]
    _write(tmp_path / "a.zip", CLONE, paths)
    _write(tmp_path / "b.zip", CLONE, paths[::-1])
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    names = zipfile.ZipFile(tmp_path / "a.zip").namelist()
    assert {"lessons/site/in_page.py", "lessons/recorded/training.npz"} <= set(names)
    assert not [n for n in names if Path(n).suffix in (".safetensors", ".pyc")]


def test_a_folder_without_pyodide(tmp_path, capsys):
    pytest.importorskip("sphinx")
    with pytest.raises(SystemExit) as ended:
        importlib.import_module("lessons.site.__main__").main(
            [str(tmp_path), "--pyodide", "nowhere"]
        )
    assert ended.value.code == 2
    assert "--pyodide nowhere: no file pyodide.mjs there" in capsys.readouterr().err
