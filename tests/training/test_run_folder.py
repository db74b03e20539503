"""The run folder: who may use it, its settings, and its rows."""

import errno
import json
import os
import subprocess
import sys

import pytest

from tinymaskrcnn.errors import InputError
from tinymaskrcnn.training.recipes import Recipe, as_json
from tinymaskrcnn.training.run_folder import RowLog, RunFolder, read_rows


def settings(**changes):
    return {"recipe": as_json(Recipe(**changes)), "classes": ["a", "b"]}


def start(path, **changes):
    with RunFolder(path, resume=False) as folder:
        folder.settle(settings(**changes))


def test_a_new_folder_is_made(tmp_path):
    start(tmp_path / "runs" / "mine", lr=0.5)
    content = json.loads((tmp_path / "runs" / "mine" / "settings.json").read_text())
    assert content["recipe"]["lr"] == 0.5


def test_a_second_run_is_refused_unless_it_resumes(tmp_path):
    start(tmp_path)
    with pytest.raises(InputError, match="holds a run already"), RunFolder(tmp_path, False):
        pass
    with RunFolder(tmp_path, True) as folder:
        folder.settle(settings())


def test_resume_in_an_empty_or_missing_folder_starts(tmp_path):
    for path in (tmp_path, tmp_path / "missing"):
        with RunFolder(path, True) as folder:
            assert folder.result() is None


def test_a_run_killed_before_its_settings_leaves_a_folder_that_can_be_used(tmp_path):
    (tmp_path / "lock").touch()
    (tmp_path / "settings.json.partial").write_text("{")
    start(tmp_path)


@pytest.mark.parametrize("resume", [False, True])
def test_someone_elses_folder_is_refused(tmp_path, resume):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"not a run folder, it holds thesis\.tex"):
        RunFolder(tmp_path, resume).__enter__()


def test_two_runs_at_once_are_refused(tmp_path):
    with (
        RunFolder(tmp_path, False),
        pytest.raises(InputError, match="another run is using this folder"),
    ):
        RunFolder(tmp_path, True).__enter__()
    with RunFolder(tmp_path, True):
        pass


def test_a_second_process_is_refused(tmp_path):
    code = f"RunFolder(Path({str(tmp_path)!r}), True).__enter__()"
    code = f"from pathlib import Path; from {RunFolder.__module__} import RunFolder; {code}"
    command = [sys.executable, "-c", code]
    with RunFolder(tmp_path, False):
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        assert answer.returncode and "another run is using this folder" in answer.stderr
    assert subprocess.run(command, check=False).returncode == 0


def test_a_disk_without_locks_is_named(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def refusing(*arguments):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refusing)
    with pytest.raises(OSError, match="No locks available") as problem:
        RunFolder(tmp_path, False).__enter__()
    assert problem.value.filename == str(tmp_path / "lock")


def test_a_path_that_cannot_be_a_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be used as a run folder"):
        RunFolder(tmp_path / "file" / "run", False).__enter__()


def test_resume_with_other_settings_is_refused_and_names_them(tmp_path):
    start(tmp_path, lr=0.5)
    with RunFolder(tmp_path, True) as folder:
        with pytest.raises(InputError, match=r"lr is 0\.25, was 0\.5"):
            folder.settle(settings(lr=0.25))
        with pytest.raises(InputError, match=r"classes is \['a'\], was \['a', 'b'\]"):
            folder.settle(settings(lr=0.5) | {"classes": ["a"]})


def test_resume_may_report_otherwise(tmp_path):
    start(tmp_path, checkpoint_every=5)
    with RunFolder(tmp_path, True) as folder:
        folder.settle(settings(checkpoint_every=7))


def test_a_run_of_an_earlier_version_with_a_setting_by_its_old_name_goes_on(tmp_path):
    path = tmp_path / "settings.json"
    with RunFolder(tmp_path, False) as folder:
        known = folder.settle(settings())
    path.write_text(path.read_text().replace("explain_pages", "moments"))
    with RunFolder(tmp_path, True) as folder:
        assert folder.settle(settings()) == known, "or its checkpoints would be another run's"


def test_damaged_settings_are_named(tmp_path):
    start(tmp_path)
    (tmp_path / "settings.json").write_text("{")
    with (
        RunFolder(tmp_path, True) as folder,
        pytest.raises(InputError, match=r"settings\.json: cannot be read"),
    ):
        folder.settle(settings())


def rows_of(path, *steps):
    log = RowLog(path, 0)
    for step in steps:
        log.append({"step": step})
    log.close()


def test_rows_after_the_checkpoint_are_cut(tmp_path):
    path = tmp_path / "metrics.jsonl"
    rows_of(path, 1, 2, 3, 4)
    log = RowLog(path, after=2)
    log.append({"step": 3, "new": True})
    log.close()
    assert read_rows(path) == [{"step": 1}, {"step": 2}, {"step": 3, "new": True}]


@pytest.mark.parametrize("torn", [b'{"step": 3', b"\0\0\0\0", b'{"st\n'])
def test_a_torn_line_is_cut(tmp_path, torn):
    path = tmp_path / "metrics.jsonl"
    rows_of(path, 1, 2)
    with open(path, "ab") as file:
        file.write(torn)
    RowLog(path, after=9).close()
    assert read_rows(path) == [{"step": 1}, {"step": 2}]


def test_no_rows_no_file(tmp_path):
    log = RowLog(tmp_path / "none.jsonl", 0)
    log.sync()
    log.close()
    assert not list(tmp_path.iterdir())
    assert read_rows(tmp_path / "none.jsonl") == []
