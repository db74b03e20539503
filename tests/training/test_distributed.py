"""What ranks do that needs no second rank to test; the rest is in tests/mpi."""

import os
import threading
import time

import pytest

from tinymaskrcnn.training.distributed import _wait_until_read

pytest.importorskip("fcntl")


def test_an_abort_waits_until_its_text_has_been_read():
    reading, writing = os.pipe()
    os.write(writing, b"the reason")
    found = []

    def read_late():
        time.sleep(0.3)
        found.append(os.read(reading, 100))

    launcher = threading.Thread(target=read_late)
    launcher.start()
    _wait_until_read(writing)
    assert found == [b"the reason"]
    launcher.join()


def test_an_abort_does_not_wait_forever_or_for_what_is_no_pipe(tmp_path):
    _, writing = os.pipe()
    os.write(writing, b"nobody reads this")
    start = time.monotonic()
    _wait_until_read(writing, patience=0.1)
    with open(tmp_path / "file", "wb") as file:
        _wait_until_read(file.fileno())
    assert time.monotonic() - start < 5
