"""Nothing is lost: killed runs, full disks, read-only folders, damaged checkpoints. Once it can go
on, each run ends with the bytes of a run that was never disturbed.
"""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tinymaskrcnn.errors import InputError
from tinymaskrcnn.training import TrainingStopped
from tinymaskrcnn.training.checkpoint import load_newest
from tinymaskrcnn.training.run_folder import read_rows

from .kills import SAVE_EVERY_STEP
from .stub import StubModel
from .test_trainer import Interrupting, make

try:
    import resource
except ModuleNotFoundError:  # Windows
    resource = None

ROOT = Path(__file__).parents[2]


def everything(run):
    """All that must be equal: rows without their times, final weights, the last checkpoint."""
    rows = [
        {k: v for k, v in r.items() if k != "seconds"} for r in read_rows(run / "metrics.jsonl")
    ]
    last = load_newest(run / "checkpoints")
    arrays = {name: a.tobytes() for name, a in last.arrays.items() if name != "seconds"}
    return rows, (run / "model.safetensors").read_bytes(), last.step, arrays


def undisturbed(run, **changes):
    """Everything in a run that is never disturbed."""
    make(run, replace(SAVE_EVERY_STEP, **changes)).run()
    return everything(run)


def leftovers(run):
    return [p.name for p in run.rglob("*") if p.suffix in (".partial", ".tmp")]


# killed


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")


def kills(*arguments):
    command = [sys.executable, "-m", "tests.training.kills", *map(str, arguments)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


@needs_fork
def test_killed_50_times_it_ends_as_if_it_never_was(tmp_path):
    """SIGKILL at random moments, two thirds of them while a file is written."""
    done = kills(tmp_path / "killed", 50, 400)
    assert done["kills"] == 50
    assert done["while_writing"] >= 30
    assert everything(tmp_path / "killed") == undisturbed(tmp_path / "whole", steps=400)
    assert not leftovers(tmp_path / "killed")


@needs_fork
@pytest.mark.soak
def test_killed_at_every_file_operation_of_a_run_it_ends_as_if_it_never_was(tmp_path):
    runs = kills(tmp_path, 0, 3)["kills"]
    whole = undisturbed(tmp_path / "whole", steps=3)
    assert runs > 30
    for number in range(runs):
        assert everything(tmp_path / f"{number:04d}") == whole, number
        assert not leftovers(tmp_path / f"{number:04d}")


# the disk


@contextmanager
def largest_file(size):
    """In this context no file of this process can grow beyond this size: writes fail in the middle
    of their bytes, as on a full disk.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


class Heavy(StubModel):
    """A model whose checkpoints are larger than the other files."""

    buffers = ("seen", "ballast")

    def __init__(self):
        super().__init__()
        self.ballast = np.zeros(1000, np.float32)


@pytest.mark.skipif(resource is None, reason="limits the size of files")
@pytest.mark.parametrize(
    ("model", "size", "file"),
    [
        (StubModel, 100, "settings.json"),
        (Heavy, 2000, "checkpoints/step-00000001.safetensors"),
        (StubModel, 2000, "metrics.jsonl"),
    ],
)
def test_a_write_that_fails_names_its_file_and_spoils_nothing(tmp_path, model, size, file):
    recipe = replace(SAVE_EVERY_STEP, steps=20)
    make(tmp_path / "whole", recipe, model()).run()
    run = tmp_path / "run"
    with largest_file(size), pytest.raises(OSError, match="File too large") as problem:
        make(run, recipe, model()).run()
    assert problem.value.filename == str(run / file)
    assert not leftovers(run)
    make(run, recipe, model(), resume=True).run()
    assert everything(run) == everything(tmp_path / "whole")


INSIDE = """
import errno, os, subprocess, sys
from dataclasses import replace
from pathlib import Path
from tests.training.kills import SAVE_EVERY_STEP
from tests.training.test_crashes import everything, leftovers, make, undisturbed

disk, recipe = Path(sys.argv[1]), replace(SAVE_EVERY_STEP, steps=40)
def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True)
def fails(number):
    try:
        make(disk / "run", recipe, resume=True).run()
    except OSError as problem:
        assert problem.errno == number and problem.filename, problem
        print(problem.filename, problem.strerror)
    except ValueError as problem:  # before the run has begun
        assert os.strerror(number) in str(problem), problem
        print(problem)
    else:
        raise AssertionError("nothing failed")

mount("-t", "tmpfs", "-o", "size=1m", "none", str(disk))
(disk / "ballast").write_bytes(bytes(2**20 - 24 * 1024))
fails(errno.ENOSPC)
assert not leftovers(disk / "run")
fails(errno.ENOSPC)
(disk / "ballast").unlink()
mount("-o", "remount,ro", str(disk))
fails(errno.EROFS)
mount("-o", "remount,rw", str(disk))
make(disk / "run", recipe, resume=True).run()
assert everything(disk / "run") == undisturbed(disk / "whole", steps=40)
"""


def test_a_disk_that_is_full_and_then_read_only(tmp_path):
    """A real small disk, mounted in a namespace of its own; skipped if that is forbidden."""
    namespace = ["unshare", "--user", "--map-root-user", "--mount"]
    (tmp_path / "disk").mkdir()
    probe = [*namespace, "mount", "-t", "tmpfs", "none", str(tmp_path / "disk")]
    try:
        subprocess.run(probe, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no mounts here")
    command = [*namespace, sys.executable, "-c", INSIDE, str(tmp_path / "disk")]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.count("No space left on device") == 2
    assert answer.stdout.count("Read-only file system") == 1


# damaged checkpoints


def regions(content):
    """Where the parts of a safetensors file lie."""
    header = 8 + int.from_bytes(content[:8], "little")
    arrays = json.loads(content[8:header])
    parts = {
        "header length": (0, 8),
        "header": (8, header),
        "tail": (len(content) - 1, len(content)),
    }
    del arrays["__metadata__"]
    for name, entry in arrays.items():
        parts[name] = tuple(header + offset for offset in entry["data_offsets"])
    return parts


def test_every_region_of_a_damaged_checkpoint_is_noticed_and_the_one_before_used(tmp_path, caplog):
    run = tmp_path / "run"
    whole = undisturbed(tmp_path / "whole", steps=6)
    with pytest.raises(TrainingStopped):
        make(run, replace(SAVE_EVERY_STEP, steps=6), Interrupting(4)).run()
    path = run / "checkpoints/step-00000004.safetensors"
    good = path.read_bytes()
    for name, (start, end) in regions(good).items():
        for place in {start, (start + end) // 2, end - 1}:
            path.write_bytes(good[:place] + bytes([good[place] ^ 0x10]) + good[place + 1 :])
            assert load_newest(run / "checkpoints").step == 3, (name, place)
            assert f"{path}: damaged" in caplog.text
            caplog.clear()
    make(run, replace(SAVE_EVERY_STEP, steps=6), resume=True).run()
    assert "step-00000004.safetensors: damaged" in caplog.text
    assert everything(run) == whole


def test_all_checkpoints_damaged_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(TrainingStopped):
        make(tmp_path, model=Interrupting(7)).run()
    files = list((tmp_path / "checkpoints").glob("*.safetensors"))
    for file in files:
        file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"no checkpoint can be used .*damaged.*run starts over"):
        make(tmp_path, resume=True).run()
    assert len(files) == 2


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    class Larger(Interrupting):
        buffers = ("seen", "more")

        def __init__(self, step):
            super().__init__(step)
            self.more = np.zeros(3, np.float32)

    for name, model in (("mine", Interrupting(2)), ("other", Larger(2))):
        with pytest.raises(TrainingStopped):
            make(tmp_path / name, model=model).run()
    for file in (tmp_path / "other/checkpoints").iterdir():
        file.replace(tmp_path / "mine/checkpoints" / file.name)
    with pytest.raises(InputError, match=r"no checkpoint can be used .*from another run"):
        make(tmp_path / "mine", resume=True).run()


def test_damaged_rows_are_left_out(tmp_path):
    with pytest.raises(TrainingStopped):
        make(tmp_path, model=Interrupting(5)).run()
    path = tmp_path / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b'{"step": 3, \xff}\n', *lines[3:]]))
    make(tmp_path, resume=True).run()
    assert [row["step"] for row in read_rows(path)] == [1, 2, 4, 5, 6, 7, 8]
