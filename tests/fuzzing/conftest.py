"""The folder in which inputs are tried."""

import logging

import pytest

from tests.datasets.formats.test_damage import SOURCES as ANNOTATIONS
from tests.datasets.formats.tools import image_file, write
from tests.datasets.test_coco import write_images
from tests.test_cli import small_weights


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with an image, data sets and weights, whole and small."""
    folder = tmp_path_factory.mktemp("fuzz")
    image_file(folder / "a.png")
    write_images(folder / "images")
    write(folder / "set.json", ANNOTATIONS[3])
    write(folder / "via.json", ANNOTATIONS[0])
    small_weights(folder / "small.safetensors")
    (folder / "foreign.json").write_text("[1, 2")
    (folder / "empty.png").write_bytes(b"")
    return folder


@pytest.fixture(autouse=True)
def quiet(monkeypatch, place):
    """Work in the folder, and log errors only."""
    monkeypatch.chdir(place)
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)
