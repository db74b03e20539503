"""Training, evaluation and prediction by several processes on this machine."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import pytest

from tinymaskrcnn.training.run_folder import read_rows

pytestmark = pytest.mark.mpi
MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
if importlib.util.find_spec("mpi4py") is None or MPIEXEC is None:
    pytest.skip("needs mpi4py and mpiexec", allow_module_level=True)

ROOT = Path(__file__).parents[2]
PACKAGE = "tinymaskrcnn"
SMALL = [
    *("--steps", "6", "--batch-size", "4", "--checkpoint-every", "2"),
    *("--set", "model.min_size=64", "--set", "model.max_size=64", "--set", "shapes.size=64"),
    *("--set", "eval_images=5", "--set", "sample_every=0", "--lr", "0.01"),
    *("--set", "model.norm=group", "--set", "explain_pages=0"),
]


def command(ranks, module, *arguments):
    launcher = [MPIEXEC, "-n", str(ranks)] if ranks else []
    return [*launcher, sys.executable, "-m", module, *map(str, arguments)]


def environment():
    """One thread a rank, and no rank when this test itself runs under a launcher."""
    outer = {k: v for k, v in os.environ.items() if not k.startswith(("PMI", "OMPI", "MPI"))}
    return outer | {"NUMBA_NUM_THREADS": "1", "GOMP_SPINCOUNT": "1000"}


def run(ranks, module, *arguments, status=0):
    """Run to the end under `ranks` processes (0: without a launcher)."""
    done = subprocess.run(
        command(ranks, module, *arguments),
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == status, done.stderr
    return done


def lines_of_failure(done):
    return [line for line in done.stderr.splitlines() if line.startswith("tinymaskrcnn:")]


def train(ranks, out, *more, status=0):
    return run(ranks, PACKAGE, "train", *SMALL, "--out", out, *more, status=status)


def losses(out):
    return [row["loss"] for row in read_rows(out / "metrics.jsonl")]


@pytest.fixture(scope="module")
def of_two(tmp_path_factory):
    """The run folder of a training by two ranks."""
    out = tmp_path_factory.mktemp("runs") / "two"
    train(2, out)
    return out


# Losses and gradients


@pytest.mark.parametrize(
    ("ranks", "norm"), [(1, "group"), *product((2, 4), ("group", "frozen", "batch"))]
)
def test_losses_and_gradients_are_those_of_one_process(ranks, norm):
    found = json.loads(run(ranks, "tests.mpi.steps", norm, 50).stdout)
    assert found.pop("ranks") == ranks
    assert max(found.values()) < 1e-5, found


# Whole runs


def test_the_same_run_twice_is_the_same_bit_for_bit(of_two, tmp_path):
    train(2, tmp_path / "again")
    again = (tmp_path / "again" / "model.safetensors").read_bytes()
    assert again == (of_two / "model.safetensors").read_bytes()
    assert losses(tmp_path / "again") == losses(of_two)


def test_ranks_learn_what_one_process_learns(of_two, tmp_path):
    train(0, tmp_path / "one")
    assert losses(of_two) == pytest.approx(losses(tmp_path / "one"), rel=1e-2)


def test_evaluation_is_shared(of_two):
    weights = "--weights", of_two / "model.safetensors"
    one, three = (
        json.loads(run(ranks, PACKAGE, "evaluate", *weights, "--json").stdout) for ranks in (0, 3)
    )
    assert one.pop("seconds") > 0 and three.pop("seconds") > 0
    assert one == three


def test_prediction_splits_a_folder(tmp_path):
    found = []
    for ranks in (0, 3):
        out = tmp_path / str(ranks)
        formats = "--json", "--format", "csv,yolo"
        done = run(ranks, PACKAGE, "predict", "data/shapes", *formats, "--out", out)
        assert done.stdout.count("objects (") == 6 + 1
        assert len(list(out.glob("*_predicted.png"))) == 6
        files = sorted(file for file in out.rglob("*") if file.suffix in (".json", ".csv", ".txt"))
        found.append({file.name: file.read_bytes() for file in files})
        assert len(files) == 2 + 6 + 1  # classes.txt
    assert found[0] == found[1]


def test_prediction_says_once_what_could_not_be_read(tmp_path):
    inputs = "data/shapes", "data/README.md", tmp_path / "none.png"
    done = run(3, PACKAGE, "predict", *inputs, "--out", tmp_path / "out", status=1)
    assert done.stderr.count("README.md: not an image") == 1
    assert done.stderr.count("2 of 8 images could not be read") == 1


# Resuming


def test_a_dead_rank_ends_the_run_and_others_resume_it(of_two, tmp_path):
    out = tmp_path / "run"
    arguments = ["train", *SMALL, "--out", out]
    dead = subprocess.run(
        command(2, "tests.mpi.trouble", "kill", 4, *arguments),
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert dead.returncode != 0
    assert "KILLED" in (dead.stdout + dead.stderr).upper()
    assert [p.name for p in (out / "checkpoints").glob("*.sha256")] == ["step-00000002.sha256"]
    assert len(losses(out)) == 3
    resumed = train(4, out, "--resume")
    assert "goes on with 4 rank(s) after 2" in resumed.stderr
    assert losses(out) == pytest.approx(losses(of_two), rel=1e-3)
    assert (out / "result.json").exists()


def test_resumed_by_as_many_ranks_it_is_the_same_bit_for_bit(of_two, tmp_path):
    out = tmp_path / "run"
    run(2, "tests.mpi.trouble", "unreadable", 4, "train", *SMALL, "--out", out, status=2)
    train(2, out, "--resume")
    weights = [(folder / "model.safetensors").read_bytes() for folder in (out, of_two)]
    assert weights[0] == weights[1]
    assert losses(out) == losses(of_two)


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path):
    out = tmp_path / "run"
    process = subprocess.Popen(
        command(2, PACKAGE, "train", *SMALL, "--steps", "100000", "--out", out),
        cwd=ROOT,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    while not losses(out):
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode != 0
    assert errors.count("everything is saved; to go on: tinymaskrcnn train") == 1, errors
    assert list((out / "checkpoints").glob("*.sha256"))


# Errors


def test_one_line_for_a_wrong_call(of_two):
    for arguments, message in (
        (["--out", of_two], "holds a run already"),
        (["--out", of_two.parent / "x", "--batch-size", "1"], "batch_size 1"),
        (["--data", "missing.json"], "missing.json"),
        (["--bogus"], "--bogus"),
    ):
        done = run(2, PACKAGE, "train", *SMALL, *arguments, status=2)
        (line,) = lines_of_failure(done)
        assert message in line


def test_an_overflow_on_one_rank_is_explained_once(tmp_path):
    arguments = ["train", *SMALL, "--out", tmp_path / "run"]
    done = run(2, "tests.mpi.trouble", "overflow", 3, *arguments, status=1)
    (line,) = lines_of_failure(done)
    assert "step 3: " in line and "first layer whose output was not finite" in line


@pytest.mark.parametrize(
    ("what", "status", "text"), [("unreadable", 2, "photo.jpg"), ("raise", 1, "nobody foresaw")]
)
def test_an_error_of_one_rank_ends_all(tmp_path, what, status, text):
    arguments = ["train", *SMALL, "--out", tmp_path / "run"]
    done = run(2, "tests.mpi.trouble", what, 3, *arguments, status=status)
    assert text in done.stderr
    assert "rank 1" in done.stderr


def test_other_commands_run_once(tmp_path):
    out = tmp_path / "a.json"
    run(3, PACKAGE, "convert", "data/nuclei", "--out", out)
    assert json.loads(out.read_text())["annotations"]


def test_a_launcher_without_mpi4py_is_an_error():
    code = "import sys; sys.modules['mpi4py'] = None; from tinymaskrcnn.cli import main; "
    done = subprocess.run(
        [sys.executable, "-c", code + "sys.exit(main(['predict', 'data/shapes']))"],
        cwd=ROOT,
        env=environment() | {"PMI_RANK": "0", "PMI_SIZE": "2"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "mpi4py cannot be used" in done.stderr and "Traceback" not in done.stderr
