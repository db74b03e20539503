"""tinymaskrcnn learn, as a learner meets it."""

import shutil

import pytest

from lessons import FOLDER
from lessons.checking import runner
from lessons.checking.files import topics
from tinymaskrcnn.cli import main
from tinymaskrcnn.commands import learn

pytestmark = pytest.mark.lessons
FILE = "06_boxes_iou.py"
EMPTY = "    raise NotImplementedError\n"


@pytest.fixture
def answers(tmp_path, monkeypatch):
    """A folder of untouched exercises in place of the clone's."""
    folder = tmp_path / "answers"
    folder.mkdir()
    for path in (FOLDER / "exercises").glob("[0-9]*.py"):
        shutil.copy(path, folder)
    monkeypatch.setenv("TINYMASKRCNN_EXERCISES", str(folder))
    monkeypatch.setattr("lessons.checking.console.PICTURES", tmp_path / "pictures")
    monkeypatch.chdir(tmp_path)
    return folder


def write(folder, name, body, extra=""):
    """The learner writes the body of a function."""
    source = (folder / FILE).read_text()
    before, after = source.split(f"def {name}(", 1)
    signature, rest = after.split(":\n", 1)
    rest = rest.replace(EMPTY, body, 1)
    (folder / FILE).write_text(f"{before}def {name}({signature}:\n{rest}{extra}")


def replace(folder, file, solution=None, **bodies):
    """The learner takes a file of solutions, or writes the bodies of some functions."""
    if solution is not None:
        shutil.copy(solution, folder / file)
    source = (folder / file).read_text()
    for name, body in bodies.items():
        before, after = source.split(f"def {name}(", 1)
        source = f"{before}def {name}({after.replace(EMPTY, body, 1)}"
    (folder / file).write_text(source)


def call(capsys, *arguments):
    status = main(["learn", *arguments])
    output = capsys.readouterr()
    return status, output.out, output.err


COUNT = sum(len(topic.tasks) for topic in topics())


def test_overview_of_untouched_files(answers, capsys):
    status, out, _ = call(capsys)
    assert status == 0
    assert out.count("not started") == COUNT
    assert f"0 of {COUNT} exercises done in all." in out
    assert f"Next: {topics()[0].tasks[0].name}" in out


def test_a_task_that_is_not_written(answers, capsys):
    status, out, _ = call(capsys, "giou")
    assert status == 1
    assert "giou: not written yet (extend, about an hour); answers/06_boxes_iou.py, line" in out


def test_a_known_mistake_gets_its_hint_and_a_picture(answers, capsys, tmp_path):
    mistake = """    y, x = np.nonzero(mask)
    return np.array([x.min(), y.min(), x.max(), y.max()], np.float32)
"""
    write(answers, "box_from_mask", mistake)
    status, out, _ = call(capsys, "box_from_mask")
    assert status == 1
    assert "mask = [[ True]]   (1, 1) bool" in out
    assert "expected  [0., 0., 1., 1.]   (4,) float32" in out
    assert "got       [0., 0., 0., 0.]   (4,) float32" in out
    assert "Hint: Your right and lower edges are the numbers of the last column" in out
    assert "Picture: pictures/box_from_mask.png" in out
    assert (tmp_path / "pictures" / "box_from_mask.png").stat().st_size > 1000


def test_success_says_what_to_read_and_counts(answers, capsys):
    right = """    y, x = np.nonzero(mask)
    return np.array([x.min(), y.min(), x.max() + 1, y.max() + 1], np.float32)
"""
    write(answers, "box_from_mask", right)
    solution = (FOLDER / "solutions" / FILE).read_text()
    write(
        answers, "iou_table", solution.split("def iou_table(a, b):\n")[1].split("\n\n\n")[0] + "\n"
    )
    before = (answers / FILE).read_bytes()
    status, out, _ = call(capsys, "box_from_mask")
    assert status == 0
    assert "box_from_mask: right." in out and "Read on: tinymaskrcnn/datasets/targets.py" in out
    assert "2 of 6 in this lesson." in out
    assert f"2 of {COUNT} exercises done in all." in out
    status, out, _ = call(capsys, "06")  # goes on to the first that is not done
    assert status == 1
    assert "box_from_mask: right." in out and "iou_xywh: not written yet" in out
    status, out, _ = call(capsys)
    assert out.count(" done\n") == 2
    assert (answers / FILE).read_bytes() == before


def test_the_solutions_are_all_right(answers, capsys):
    for path in (FOLDER / "solutions").glob("[0-9]*.py"):
        shutil.copy(path, answers)
    status, out, _ = call(capsys)
    assert status == 0
    assert f"{COUNT} of {COUNT} exercises done in all." in out
    assert "All of them" in out


def test_a_syntax_error_is_one_line(answers, capsys):
    write(answers, "giou", "    return (a\n")
    status, out, err = call(capsys, "giou")
    assert (status, out) == (2, "")
    assert err.startswith("tinymaskrcnn: answers/06_boxes_iou.py, line ")
    assert "was never closed: return (a" in err and err.count("\n") == 1
    status, out, _ = call(capsys)
    assert status == 0
    assert "answers/06_boxes_iou.py, line" in out


def test_a_file_that_cannot_be_run(answers, capsys):
    write(answers, "giou", "    return a\n", extra="\n\nimport nothing_like_this\n")
    status, out, _ = call(capsys, "giou")
    assert status == 1
    assert "the file cannot be run: line" in out and "No module named 'nothing_like_this'" in out


def test_a_missing_function_is_named(answers, capsys):
    text = (answers / FILE).read_text()
    (answers / FILE).write_text(text.replace("def giou(", "def my_giou("))
    status, _, err = call(capsys, "giou")
    assert status == 2
    assert "there is no function giou any more" in err


def test_an_endless_loop_ends(answers, capsys, monkeypatch):
    monkeypatch.setattr(runner.check, "__defaults__", (2.0,))
    write(answers, "iou_xywh", "    while True:\n        pass\n")
    write(answers, "giou", "    return a @ b.T\n")
    status, out, _ = call(capsys, "iou_xywh")
    assert status == 1
    assert "still running after 2 seconds, in line" in out and "does the loop end?" in out
    assert "a = [" in out
    status, out, _ = call(capsys)  # the answers after it are checked all the same
    assert out.count("not right yet") == 2


def test_an_answer_that_ends_its_process(answers, capsys):
    write(answers, "iou_xywh", "    import os\n    os._exit(5)\n")
    status, out, _ = call(capsys, "iou_xywh")
    assert status == 1
    assert "its process ended with status 5" in out


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("    return np.array([[0.0 for q in b] for p in a])\n", "a comprehension"),
        ("    return covered_by_loops(a, b)\n", "a for loop"),
        ("    return np.vectorize(abs)(a)\n", "vectorize, which is a loop"),
    ],
)
def test_loops_where_there_shall_be_none(answers, capsys, body, what):
    write(answers, "covered_by", body)
    status, out, _ = call(capsys, "covered_by")
    assert status == 1
    assert f"{what}; this task wants whole arrays at once" in out


def test_an_unknown_name_gets_the_nearest(answers, capsys):
    status, _, err = call(capsys, "goiu")
    assert status == 2
    assert "learn goiu: no such topic or task; did you mean giou" in err


def test_outside_a_clone_it_says_so(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(learn, "ROOT", tmp_path)
    status, _, err = call(capsys)
    assert status == 2
    assert "works from a clone of the repository" in err
