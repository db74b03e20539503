"""Writing files: whole or not at all, and never over what would be missed."""

import os

import numpy as np
import pytest
from PIL import Image

from tinymaskrcnn.errors import InputError
from tinymaskrcnn.files import check_output, identities, mark, write_atomic, write_image

IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8))


def test_what_is_not_there_may_be_written(tmp_path):
    (tmp_path / "loop.png").symlink_to("loop.png")
    for name in ("new.png", "loop.png", "missing/new.png"):
        check_output(tmp_path / name, identities([tmp_path]), mark("predict"))


@pytest.mark.parametrize("name", ["same", "sub/../same", "symbolic", "hard"])
@pytest.mark.parametrize("force", [False, True])
def test_an_input_is_never_written_over_by_whatever_name(tmp_path, name, force):
    (tmp_path / "sub").mkdir()
    given = tmp_path / "same"
    given.write_bytes(mark("predict").encode())
    (tmp_path / "symbolic").symlink_to(given)
    os.link(given, tmp_path / "hard")
    with pytest.raises(InputError, match="this is one of the inputs"):
        check_output(tmp_path / name, identities([given]), mark("predict"), force)


def test_files_that_are_not_ours_need_force(tmp_path):
    path = tmp_path / "a.png"
    IMAGE.save(path)
    for words in (mark("predict"), mark("check-data"), None):
        with pytest.raises(
            InputError, match=r"a\.png: this .*(that file|exists already); --force replaces it"
        ):
            check_output(path, set(), words)
        check_output(path, set(), words, force=True)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_our_own_of_the_same_kind_may_be_replaced(tmp_path, name):
    path = tmp_path / name
    noise = np.random.default_rng(0).integers(0, 255, (400, 500, 3), np.uint8)
    write_image(path, Image.fromarray(noise), mark("predict"))
    check_output(path, set(), mark("predict"))
    with pytest.raises(InputError, match="this command did not write that file"):
        check_output(path, set(), mark("check-data"))
    with Image.open(path) as image:
        assert image.size == (500, 400)


def test_an_empty_file_holds_nothing_to_lose(tmp_path):
    (tmp_path / "a.html").touch()
    check_output(tmp_path / "a.html", set(), mark("explain"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="makes a pipe")
@pytest.mark.parametrize("force", [False, True])
def test_folders_and_devices_are_refused(tmp_path, force):
    os.mkfifo(tmp_path / "pipe")
    for path, what in ((tmp_path, "a folder"), (tmp_path / "pipe", "not a file")):
        with pytest.raises(InputError, match=f"this is {what}, expected"):
            check_output(path, set(), mark("explain"), force)


def test_of_a_hard_link_only_the_name_is_replaced(tmp_path):
    (tmp_path / "original").write_bytes(b"old")
    os.link(tmp_path / "original", tmp_path / "link")
    write_atomic(tmp_path / "link", b"new")
    assert (tmp_path / "original").read_bytes() == b"old"
    assert (tmp_path / "link").read_bytes() == b"new"


def test_no_file_beside_it_is_touched(tmp_path):
    (tmp_path / "a.txt.partial").write_bytes(b"mine")
    write_atomic(tmp_path / "a.txt", b"new")
    assert (tmp_path / "a.txt.partial").read_bytes() == b"mine"
    long = tmp_path / ("n" * 250)
    write_atomic(long, b"a name that leaves no room for an ending")
    assert sorted(tmp_path.iterdir()) == sorted(
        [tmp_path / "a.txt", *tmp_path.glob("*.partial"), long]
    )


def test_an_image_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: .*a\.png"):
        write_image(path, IMAGE, mark("predict"))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
