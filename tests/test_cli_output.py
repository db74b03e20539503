"""What the command line prints, whatever names files and classes have, and whoever listens."""

import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.test_cli import image_file, small_weights
from tinymaskrcnn.cli import main
from tinymaskrcnn.commands.tables import figures_table
from tinymaskrcnn.errors import LONGEST, one_line, printable
from tinymaskrcnn.training.progress import ProgressBar
from tinymaskrcnn.training.recipes import Recipe

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b1m\u202ered\ud800\nfake: line"
SHOWN = r"\x1b]0;owned\x07\x1b[2J\x9b1m\u202ered\ud800\nfake: line"
NAMES = [EVIL, "\ud800", "$\\frac$", "画像 ł", "a" * 5000]
not_windows = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such files")
posix = pytest.mark.skipif(os.name != "posix", reason="a shell's redirections")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Every test runs in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def coco(name="cat", file_name="a.png"):
    """set.json: one object of this class in the image a.png, which is there."""
    image_file(Path("a.png"))
    outline = [[2, 2, 20, 2, 20, 20, 2, 20]]
    thing = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": outline, "iscrowd": 0}
    content = {
        "images": [{"id": 1, "file_name": file_name, "width": 40, "height": 48}],
        "annotations": [{**thing, "bbox": [2, 2, 18, 18], "area": 324}],
        "categories": [{"id": 1, "name": name}],
    }
    Path("set.json").write_text(json.dumps(content))


def shell(command, **environment):
    """(status, output, errors) of a command line with the shell's redirections."""
    command = command.replace("tinymaskrcnn", f"{sys.executable} -m tinymaskrcnn.cli")
    done = subprocess.run(command, shell=True, capture_output=True, env=os.environ | environment)
    return done.returncode, done.stdout.decode("latin-1"), done.stderr.decode("latin-1")


# what is written


def test_what_a_terminal_would_obey_is_written_as_an_escape():
    assert printable(EVIL) == SHOWN
    assert printable("naïve 画像 👩‍🔬  b") == "naïve 画像 👩‍🔬  b"
    assert one_line(" a\n\tb\x1b ") == r"a b\x1b"
    assert len(printable("\x00" * 5000)) <= LONGEST


@pytest.mark.parametrize("name", [*NAMES, "A" * 2_000_000])
def test_any_class_can_be_checked_and_converted(name, capfd):
    coco(name)
    assert main(["check-data", "set.json"]) == 0
    assert main(["convert", "set.json", "--out", "out.json"]) == 0
    output = "".join(capfd.readouterr())
    assert "\x1b" not in output and "\u202e" not in output
    assert not any(line.startswith("fake") for line in output.splitlines())
    assert max(map(len, output.splitlines())) <= LONGEST
    assert json.loads(Path("out.json").read_text())["categories"] == [{"id": 1, "name": name}]
    with Image.open("set_check.png") as sheet:
        sheet.load()


@pytest.mark.parametrize("name", [*NAMES, "\0", "a" * 300])
def test_a_missing_image_is_named_in_one_line(name, capfd):
    coco(file_name=name)
    assert main(["check-data", "set.json"]) == 2
    output, errors = capfd.readouterr()
    assert "error: missing images (1): image " in output and "\x1b" not in output
    assert errors == "tinymaskrcnn: set.json: 1 error, 0 warnings\n"


@not_windows
def test_odd_names_do_not_end_a_folder(capfd):
    """Also a link to itself, and images that are given by such names."""
    weights = small_weights("w.safetensors", ["square", "\x1b[2Jcircle", "$\\frac$"])
    os.mkdir("in")
    image_file(Path("good.png"))
    names = [EVIL.replace("\ud800", ""), "l\udce9", "$\\frac$", "ü" * 125, "z"]
    for name in names:
        os.link("good.png", f"in/{name}.png")
    os.symlink("loop.png", "loop.png")
    given = ["loop.png", "in", "a" * 300 + ".png"]
    call = ["predict", *given, "--weights", weights, "--score", "0", "--json"]
    assert main(call) == 1
    output, errors = capfd.readouterr()
    assert len(output.splitlines()) == len(names) and "\x1b" not in output + errors
    assert "loop.png: cannot read the file: " in errors and "a.png: cannot read the" in errors
    content = json.loads(Path("predictions/predictions.json").read_text())
    assert sorted(i["file_name"] for i in content["images"]) == sorted(f"in/{n}.png" for n in names)
    assert len(list(Path("predictions").glob("*.png"))) == len(names)
    assert main(["explain", "in/l\udce9.png", "--weights", weights, "--out", "l\udce9.html"]) == 0
    assert r"l\udce9" in Path("l\udce9.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8:strict"])
def test_names_that_an_encoding_lacks(encoding):
    coco("画像 \ud800")
    status, output, errors = shell("tinymaskrcnn convert set.json --out ł.json", PYTHONUTF8="0",
                                   PYTHONIOENCODING=encoding)  # fmt: skip
    assert (status, errors) == (0, "")
    assert r"\ud800 1" in output and Path("ł.json").exists()


# who listens


@posix
@pytest.mark.parametrize("closed", [">&-", "<&-", "2>&-", ">&- 2>&- <&-", "| true", "2>&1 | true"])
def test_nobody_needs_to_listen(closed):
    coco()
    command = f"(tinymaskrcnn convert set.json --out out.json; echo $? >status) {closed}"
    if "|" not in closed:
        command = f"tinymaskrcnn convert set.json --out out.json {closed}; echo $? >status"
    _, _, errors = shell(command)
    assert "Traceback" not in errors and "Exception" not in errors
    assert Path("status").read_text() in (("0\n", "1\n") if "|" in closed else ("0\n",))
    json.loads(Path("out.json").read_text())


@posix
def test_a_closed_stream_lends_its_number_to_no_file():
    """Else what is printed would go into the file that is opened next."""
    coco()
    code = "import tinymaskrcnn.cli as c; c._open_streams(); f = open('x'); print(f.fileno() > 2)"
    Path("x").touch()
    done = subprocess.run(
        f'{sys.executable} -c "{code} or f.fileno() > 2 or 1/0" >&- <&-', shell=True, check=False
    )
    assert done.returncode == 0


@posix
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_under_the_output_is_one_line():
    coco()
    status, _, errors = shell("tinymaskrcnn convert set.json --out out.json >/dev/full")
    assert status == 1
    assert errors.count("\n") == 1 and "No space left" in errors


class Gone(io.StringIO):
    """A stream whose reader has gone."""

    def write(self, text):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def test_a_broken_log_ends_no_work(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Gone())
    with ProgressBar(Recipe(steps=3), 0, shown=True) as bar:
        for _ in range(3):
            bar.update({"loss": 1.0})
    assert main(["predict", "nothing.png"]) == 2


def test_the_time_left_follows_a_time_budget(capsys):
    with ProgressBar(Recipe(steps=100_000, time_budget=100), 0, shown=True) as bar:
        bar.update({"loss": 1.0, "seconds": 10.0})
    assert "1/10 " in capsys.readouterr().err


def test_the_module_of_the_command_line_can_be_run():
    assert shell("tinymaskrcnn convert nothing --out a.json")[0] == 2


# what is no file


@not_windows
@pytest.mark.parametrize("kind", ["pipe", "/dev/zero", "loop", "folder"])
def test_json_that_is_no_file_is_refused_at_once(kind, capfd):
    os.mkfifo("pipe")
    os.mkdir("folder")
    os.symlink("loop", "loop")
    coco()
    for call in (
        ["check-data", kind],
        ["train", "--data", kind, "--out", "run"],
        ["train", "--data", "set.json", "--val", kind, "--out", "run"],
        ["evaluate", "--data", kind],
        ["explain", "a.png", "--targets", kind],
        ["convert", kind, "--out", "a.json", "--format", "labelme"],
    ):
        assert main(call) == 2, call
        errors = capfd.readouterr().err.splitlines()
        assert errors[-1].startswith(f"tinymaskrcnn: {kind}: "), errors


def test_figures_of_a_class_with_an_evil_name():
    row = dict.fromkeys(("AP", "AP50", "AP75", "APs", "APm", "APl"), 0.5)
    result = {"bbox": row, "segm": row, "per_class": {EVIL: {"bbox_AP": -1}, "b": {"bbox_AP": 1}}}
    table = figures_table(result, [EVIL, "b"])
    assert "\x1b" not in table and "\nfake" not in table
    assert np.count_nonzero([SHOWN in line for line in table.splitlines()]) == 2
