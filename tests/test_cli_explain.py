"""`tinymaskrcnn explain`: the page, and one line for every call that cannot be."""

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.test_cli import run, small_weights

SHAPES = Path(__file__).parents[1] / "data" / "shapes"
IMAGE = SHAPES / "shapes_022.png"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return small_weights(tmp_path_factory.mktemp("weights") / "small.safetensors")


def test_a_page_with_and_without_targets(capsys, weights):
    sizes = []
    for more in ([], ["--targets", SHAPES / "annotations.json"]):
        status, out, err = run(
            capsys, "explain", IMAGE, "--out", "page.html", "--weights", weights, *more
        )
        assert (status, err) == (0, "")
        assert re.fullmatch(r".*shapes_022.png: every stage -> page.html \(\d+\.\d MB\)\n", out)
        page = Path("page.html").read_text(encoding="utf-8")
        assert page.startswith("<!doctype html>") and "shapes_022.png" in page
        sizes.append(len(page))
    assert sizes[1] > sizes[0]


def test_a_copy_of_the_image_elsewhere_is_known_by_its_name(capsys, weights, folder):
    shutil.copy(IMAGE, folder)
    status, _, err = run(
        capsys, "explain", IMAGE.name, "--weights", weights, "--targets",
        SHAPES / "annotations.json",
    )  # fmt: skip
    assert (status, err) == (0, "")
    assert Path("report.html").exists()


def test_calls_that_cannot_be(capsys, weights, folder):
    shutil.copy(IMAGE, folder / "other.png")
    (folder / "torn.png").write_bytes(IMAGE.read_bytes()[:100])
    (folder / "none.json").write_text(json.dumps({"images": [], "annotations": []}))
    targets = SHAPES / "annotations.json"
    cases = [
        (["missing.png"], "missing.png: no such file"),
        (["torn.png"], "torn.png: "),
        ([IMAGE, "--out", "no/where.html"], "--out no/where.html: there is no folder no"),
        ([IMAGE, "--out", folder], "this is a folder, expected the name of a file"),
        ([IMAGE, "--weights", "none.pth"], "none.pth: no such weights"),
        ([IMAGE, "--targets", "missing.json"], "missing.json: "),
        ([IMAGE, "--targets", "none.json"], "none.json: "),
        (["other.png", "--targets", targets], "has no targets for other.png, only for shapes_002"),
        ([IMAGE, "--images", folder], "--images goes with --targets"),
        ([IMAGE, "--device", "cuda"], "device cuda: "),
    ]
    for arguments, message in cases:
        more = [] if "--weights" in arguments else ["--weights", weights]
        status, out, err = run(capsys, "explain", *arguments, *more)
        assert (status, out) == (2, ""), arguments
        assert message in err and err.count("\n") == 1, err
    assert not Path("report.html").exists()


def test_another_size_than_the_annotations_say(capsys, weights, folder):
    from PIL import Image

    Image.open(IMAGE).resize((64, 64)).save(folder / IMAGE.name)
    status, _, err = run(
        capsys, "explain", IMAGE.name, "--weights", weights, "--targets",
        SHAPES / "annotations.json",
    )  # fmt: skip
    assert status == 2
    assert "the image is 64 x 64" in err


def test_an_unwritable_page(capsys, weights, folder, monkeypatch):
    from tinymaskrcnn.commands import explain

    def full(path, content):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(explain, "write_atomic", full)
    status, _, err = run(capsys, "explain", IMAGE, "--weights", weights)
    assert (status, err) == (2, "tinymaskrcnn: --out report.html: No space left on device\n")
