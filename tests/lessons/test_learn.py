"""tinymaskrcnn learn, as a learner meets it."""

import shutil
import signal
import subprocess
import sys

import pytest

from lessons import FOLDER
from lessons.checking import console, runner, watch
from lessons.checking.files import ExerciseFile, topics
from lessons.checking.runner import Result
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
    monkeypatch.setattr("lessons.checking.ladder.STATE", tmp_path / "state" / "hints.json")
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
    assert "Hint: Your right and lower edges are the indices of the last column" in out
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


def test_what_an_answer_calls_of_the_package_is_not_compiled(answers, capsys):
    body = """    import sys

    from tinymaskrcnn.functional import conv2d

    turned = weight[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)
    dx = conv2d(grad, turned, padding=weight.shape[2] - 1).data
    assert "tinymaskrcnn.ops.conv2d.cpu" not in sys.modules
    return dx
"""
    replace(answers, "02_convolution.py", input_gradient=body)
    assert "input_gradient: right." in call(capsys, "input_gradient")[1]


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


@pytest.mark.parametrize(
    "name", ["06", "6", "lesson06", "06_boxes_iou.py", "lessons/exercises/06_boxes_iou.py"]
)
def test_a_lesson_goes_by_many_names(name):
    assert console.find(name)[0].name == "boxes_iou"


def test_a_lesson_of_one_digit_and_a_letter():
    assert console.find("1b")[0].name == "network" and console.find("1")[0].name == "gradients"


def test_a_deleted_file_can_be_brought_back(answers, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("lessons.checking.files.FOLDER", tmp_path)
    (answers / FILE).unlink()
    status, _, err = call(capsys, "06")
    assert status == 2
    assert f"git checkout exercises/{FILE} brings back the empty one" in err
    status, out, _ = call(capsys)
    assert status == 0 and f"exercises/{FILE} is missing" in out


def test_outside_a_clone_it_says_so(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(learn, "ROOT", tmp_path)
    status, _, err = call(capsys)
    assert status == 2
    assert "works from a clone of the repository" in err


HINTS = next(t for topic in topics() for t in topic.tasks if t.name == "box_from_mask").hints
RIGHT = """    y, x = np.nonzero(mask)
    return np.array([x.min(), y.min(), x.max() + 1, y.max() + 1], np.float32)
"""


@pytest.fixture
def judged(monkeypatch):
    """Answers are judged by their text, without a process: what matters is what happens then."""

    def check(topic, names):
        file = ExerciseFile(topic.file)
        return {name: judge(file.source(name), file.is_untouched(name)) for name in names}

    def judge(source, is_untouched):
        if is_untouched:
            return Result("untouched")
        wrong = "float32([0, 0, 1" in source or source.endswith("return a")
        return Result("wrong", ["  wrong"]) if wrong else Result("done")

    monkeypatch.setattr(console, "check", check)
    monkeypatch.setattr(
        console, "check_all", lambda jobs: {k: v for job in jobs for k, v in check(*job).items()}
    )


def flat(text):
    return " ".join(text.split())


def rewrite(folder, body):
    """The learner writes box_from_mask anew."""
    shutil.copy(FOLDER / "exercises" / FILE, folder)
    write(folder, "box_from_mask", body)


def test_each_time_a_hint_is_asked_for_there_is_one_more(answers, capsys):
    before = (answers / FILE).read_bytes()
    for count in (1, 2, 3, 3):
        status, out, _ = call(capsys, "box_from_mask", "--hint")
        assert status == 0
        assert [hint in flat(out) for hint in HINTS] == [i < count for i in range(3)]
        assert ("lessons/solutions/06_boxes_iou.py, line " in out) == (count == 3)
    assert (answers / FILE).read_bytes() == before


def test_each_answer_that_fails_gets_one_more_hint_until_one_is_right(answers, capsys, judged):
    for number, hint in enumerate(HINTS):
        rewrite(answers, f"    return np.float32([0, 0, 1, {number + 50}])\n")
        for _ in range(2):  # to check the same answer again is no new attempt
            status, out, _ = call(capsys, "box_from_mask")
            assert status == 1
            assert f"Hint {number + 1} of 3: {hint}" in flat(out)
    assert "An answer stands in" in out
    rewrite(answers, RIGHT)
    assert call(capsys, "box_from_mask")[0] == 0
    assert f"Hint 1 of 3: {HINTS[0]}" in flat(call(capsys, "box_from_mask", "--hint")[1])


def test_asking_and_failing_share_the_ladder(answers, capsys, judged):
    call(capsys, "box_from_mask", "--hint")
    rewrite(answers, "    return np.float32([0, 0, 1, 50])\n")
    assert f"Hint 2 of 3: {HINTS[1]}" in flat(call(capsys, "box_from_mask")[1])
    assert f"Hint 3 of 3: {HINTS[2]}" in flat(call(capsys, "box_from_mask", "--hint")[1])


def test_a_mistake_that_has_a_name_costs_no_hint(answers, capsys):
    rewrite(answers, "    mask.any(axis=0)\n")
    out = flat(call(capsys, "box_from_mask")[1])
    assert "Hint: A function that reaches its end without `return` gives None" in out
    assert "of 3" not in out and "tinymaskrcnn learn box_from_mask --hint" in out
    assert "Hint 1 of 3" in call(capsys, "box_from_mask", "--hint")[1]


def test_a_hint_for_a_lesson_is_one_for_its_next_task(answers, capsys, judged):
    first = topics()[0].tasks[0].name
    assert call(capsys, "--hint")[1].startswith(f"{first}: ")
    shutil.copy(FOLDER / "solutions" / FILE, answers)
    assert "these answers are right" in call(capsys, "06", "--hint")[1]
    source = (answers / FILE).read_text()
    source = source.replace(
        "    rows, columns",
        "    raise NotImplementedError\n\n\ndef unused(mask):\n    rows, columns",
    )
    (answers / FILE).write_text(source)
    assert call(capsys, "06", "--hint")[1].startswith("box_from_mask: answers/06_boxes_iou.py")


def test_a_state_that_cannot_be_kept_takes_no_hint_away(answers, capsys, tmp_path):
    (tmp_path / "state").write_text("a file where the folder should be")
    status, out, _ = call(capsys, "box_from_mask", "--hint")
    assert status == 0 and HINTS[0] in flat(out) and "is not kept: " in out
    (tmp_path / "state").unlink()
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "hints.json").write_text('{"giou": [')
    assert HINTS[0] in flat(call(capsys, "box_from_mask", "--hint")[1])
    assert "Hint 2" in call(capsys, "box_from_mask", "--hint")[1]


def test_next_stays_in_the_lesson(answers, capsys, judged):
    names = [task.name for topic in topics() if topic.name == "boxes_iou" for task in topic.tasks]
    write(answers, "box_from_mask", RIGHT)
    after = names[names.index("box_from_mask") + 1]
    assert f"Next: {after} (" in call(capsys, "box_from_mask")[1]
    source = (FOLDER / "solutions" / FILE).read_text()
    missing = source.replace(
        "    corner = np.maximum",
        "    raise NotImplementedError\n\n\ndef unused(a, b):\n    corner = np.maximum",
        1,
    )
    (answers / FILE).write_text(missing)
    assert "Next: iou_table (" in call(capsys, "giou")[1]  # the lesson's first is open still
    (answers / FILE).write_text(source)
    following = topics()[[topic.name for topic in topics()].index("boxes_iou") + 1]
    assert f"Next: {following.tasks[0].name} (" in call(capsys, "06")[1]


@pytest.mark.parametrize(
    "modes", [["--hint", "--watch"], ["--mine", "--hint"], ["--mine", "--watch"]]
)
def test_two_modes_are_refused(answers, capsys, modes):
    status, _, err = call(capsys, *modes)
    assert status == 2
    assert f"{' and '.join(sorted(modes, key=['--hint', '--watch', '--mine'].index))} do not" in err


@pytest.mark.parametrize("modes", [["--hint"], ["--watch"]])
def test_hint_and_watch_refuse_an_unknown_name(answers, capsys, modes):
    status, _, err = call(capsys, "goiu", *modes)
    assert status == 2
    assert "did you mean giou" in err


class Typing:
    """What happens while `learn --watch` sleeps: one step after the other, then Ctrl-C."""

    def __init__(self, *steps):
        self.steps = list(steps)

    def __call__(self, seconds):
        if not self.steps:
            raise KeyboardInterrupt
        if step := self.steps.pop(0):
            step()


@pytest.fixture
def typing(monkeypatch):
    def install(*steps):
        monkeypatch.setattr(watch, "sleep", Typing(*steps))

    return install


def test_watch_checks_after_each_save(answers, capsys, typing, judged):
    typing(
        None,
        lambda: rewrite(answers, "    return np.float32([0, 0, 1, 50])\n"),
        None,
        lambda: rewrite(answers, "    return (\n"),
        lambda: rewrite(answers, RIGHT),
    )
    status, out, err = call(capsys, "box_from_mask", "--watch")
    assert (status, err) == (0, "")
    assert "\x1b" not in out  # this is no terminal
    written, wrong, broken, right = out.split("Watching answers/06_boxes_iou.py")[:4]
    assert "not written yet" in written
    assert "not right yet" in wrong and "Hint 1 of 3" in wrong
    assert "was never closed" in broken
    assert "box_from_mask: right." in right
    assert out.count("Watching") == 4


def test_watch_sees_a_file_that_an_editor_replaces(answers, capsys, typing, judged):
    def begin():
        write(answers, "box_from_mask", RIGHT)
        (answers / FILE).rename(answers / "backup~")

    typing(begin, None, lambda: (answers / "backup~").rename(answers / FILE), None)
    status, out, _ = call(capsys, "box_from_mask", "--watch")
    assert status == 0
    assert out.count("Watching") == 2 and "box_from_mask: right." in out


def test_watch_without_a_name_checks_the_lesson_that_is_saved(answers, capsys, typing, judged):
    typing(lambda: write(answers, "iou_table", "    return a\n"))
    status, out, _ = call(capsys, "--watch")
    assert status == 0
    first, second = out.split("Watching")[:2]
    assert f"{topics()[0].tasks[0].name}: not written yet" in first
    assert "iou_table: not right yet" in second


def test_watch_clears_a_terminal(answers, capsys, typing, judged, monkeypatch):
    typing()
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    status, out, _ = call(capsys, "box_from_mask", "--watch")
    assert status == 0 and out.startswith(watch.CLEAR)


def test_ctrl_c_leaves_a_watch_at_once(answers):
    command = [sys.executable, "-m", "tinymaskrcnn", "learn", "box_from_mask", "--watch"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while "Watching" not in (process.stdout.readline() or "Watching"):
        pass
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert (process.returncode, err) == (0, "")
