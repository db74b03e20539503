"""Checkpoints are written whole or not at all, and the last good one is found."""

import errno
import os
import shutil
import subprocess

import numpy as np
import pytest

from tinymaskrcnn.errors import InputError
from tinymaskrcnn.files import write_atomic
from tinymaskrcnn.training.checkpoint import load_newest, save_checkpoint
from tinymaskrcnn.weights import save_weights


def arrays(step):
    return {
        "model/w": np.full((2, 3), step, np.float32),
        "count": np.array([step]),
        "flags": np.array([True, False]),
    }


def saved(folder, *steps):
    return [save_checkpoint(folder, step, arrays(step)) for step in steps]


def test_what_was_saved_comes_back(tmp_path):
    saved(tmp_path, 7)
    found = load_newest(tmp_path)
    assert found.step == 7
    for name, array in arrays(7).items():
        assert found.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(found.arrays[name], array)


def test_nothing_saved_is_none(tmp_path):
    assert load_newest(tmp_path) is None
    assert load_newest(tmp_path / "missing") is None


def test_the_newest_two_are_kept(tmp_path):
    saved(tmp_path, 1, 2, 3, 10)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "step-00000003.safetensors",
        "step-00000003.sha256",
        "step-00000010.safetensors",
        "step-00000010.sha256",
    ]


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="no sha256sum here")
def test_the_checksum_is_one_that_sha256sum_reads(tmp_path):
    saved(tmp_path, 1)
    command = ["sha256sum", "--check", "--status", "step-00000001.sha256"]
    assert subprocess.run(command, cwd=tmp_path, check=False).returncode == 0


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "checksum", "no checksum"])
def test_a_damaged_one_is_passed_over(tmp_path, caplog, damage):
    _, newest = saved(tmp_path, 1, 2)
    content = bytearray(newest.read_bytes())
    if damage == "truncate":
        newest.write_bytes(content[:-1])
    elif damage == "flip":
        content[len(content) // 2] ^= 1
        newest.write_bytes(content)
    elif damage == "empty":
        newest.write_bytes(b"")
    elif damage == "checksum":
        newest.with_suffix(".sha256").write_bytes(b"")
    else:
        newest.with_suffix(".sha256").unlink()
    assert load_newest(tmp_path).step == 1
    assert damage == "no checksum" or "damaged" in caplog.text


def test_every_byte_counts(tmp_path):
    """Each byte of both files changed, and both cut at each length: the previous one is used."""
    _, newest = saved(tmp_path, 1, 2)
    for path in (newest, newest.with_suffix(".sha256")):
        content = path.read_bytes()
        used = content if path == newest else content.split()[0]  # the file's name is for people
        for place in range(len(used)):
            path.write_bytes(
                content[:place] + bytes([content[place] ^ 0x04]) + content[place + 1 :]
            )
            assert load_newest(tmp_path).step == 1, (path, place)
            path.write_bytes(content[:place])
            assert load_newest(tmp_path).step == 1, (path, place)
        path.write_bytes(content)
    assert load_newest(tmp_path).step == 2


def test_all_damaged_is_an_error_that_names_them(tmp_path):
    for path in saved(tmp_path, 1, 2):
        path.write_bytes(b"x")
    with pytest.raises(InputError, match=r"no checkpoint can be used .*damaged"):
        load_newest(tmp_path)


def test_a_run_that_went_back_replaces_what_was_damaged(tmp_path):
    _, newest = saved(tmp_path, 4, 8)
    newest.write_bytes(b"x")
    saved(tmp_path, 6)
    assert [p.name for p in sorted(tmp_path.glob("*.safetensors"))] == [
        "step-00000004.safetensors",
        "step-00000006.safetensors",
    ]


def test_what_a_crash_left_is_removed(tmp_path):
    (tmp_path / "step-00000001.safetensors.partial").write_bytes(b"half")
    (tmp_path / "step-00000001.safetensors").write_bytes(b"without checksum")
    saved(tmp_path, 2)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("call", range(8))
def test_a_full_disk_leaves_the_last_good_one(tmp_path, monkeypatch, call):
    """Every write, flush and rename of a save fails once."""
    saved(tmp_path, 1)
    calls, fails = 0, None

    def failing(original):
        def wrapped(*arguments):
            nonlocal calls
            calls += 1
            if calls == fails:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return original(*arguments)

        return wrapped

    monkeypatch.setattr(os, "fsync", failing(os.fsync))
    monkeypatch.setattr(os, "replace", failing(os.replace))
    saved(tmp_path / "counted", 2)
    steps, calls, fails = calls, 0, call + 1
    if call < steps:  # fsync, rename and, not on Windows, fsync of the folder, for two files
        with pytest.raises(OSError, match="No space left"):
            saved(tmp_path, 2)
        assert load_newest(tmp_path).step == (2 if call == 5 else 1)  # the last fsync
        assert not list(tmp_path.glob("*.partial"))
    else:
        saved(tmp_path, 2)
        assert load_newest(tmp_path).step == 2


def test_write_atomic_replaces(tmp_path):
    path = tmp_path / "file"
    write_atomic(path, b"old")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("operation, number", [("open", errno.EACCES), ("fsync", errno.EINVAL)])
def test_a_folder_that_cannot_be_flushed_is_no_error(tmp_path, monkeypatch, operation, number):
    """As on Windows and some network disks."""
    original = getattr(os, operation)

    def refusing(file, *arguments):
        if os.path.isdir(file):
            raise OSError(number, os.strerror(number))
        return original(file, *arguments)

    monkeypatch.setattr(os, operation, refusing)
    write_atomic(tmp_path / "file", b"new")
    save_weights(tmp_path / "w.safetensors", arrays(1))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "w.safetensors"]
