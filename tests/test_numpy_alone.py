"""NumPy and Pillow are enough to predict: everything else that is installed is taken away."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinymaskrcnn as tm
from tinymaskrcnn.backend import use
from tinymaskrcnn.weights import plain_safetensors as plain

IMAGE = Path(__file__).parents[1] / "data/shapes/shapes_024.png"
ALONE = """
import sys
for name in "numba llvmlite scipy pycocotools safetensors tqdm matplotlib".split():
    sys.modules[name] = None
from tinymaskrcnn.cli import main
sys.exit(main())
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def alone(*words):
    """The exit status, the output and the lines of errors of a command without the others."""
    call = [sys.executable, "-c", ALONE, *map(str, words)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr.splitlines()


def test_predict(folder):
    """It says once that it is slow, and finds what the reference backend finds."""
    status, output, errors = alone("predict", IMAGE, "--json", "--score", "0.3")
    assert status == 0 and "5 objects" in output
    assert errors == ["Numba is not installed: NumPy does all the work, slowly"]
    content = json.loads((folder / "predictions/predictions.json").read_text())
    with use("reference"):
        found = tm.load_model("shapes").detect([tm.read_image(IMAGE)])[0]
    kept = found.scores >= 0.3
    assert [a["score"] for a in content["annotations"]] == pytest.approx(found.scores[kept])
    boxes = found.boxes[kept] - np.tile(found.boxes[kept][:, :2], 2) * [0, 0, 1, 1]
    assert np.allclose([a["bbox"] for a in content["annotations"]], boxes, atol=0.01)
    rles = [a["segmentation"]["counts"] for a in content["annotations"]]
    expected = [r["counts"].decode() for r, k in zip(found.rles(), kept, strict=True) if k]
    assert rles == expected


@pytest.mark.parametrize(
    "call, package",
    [
        (["explain", IMAGE, "--out", "page.html"], "matplotlib"),
        (["predict", IMAGE, "--format", "labelme"], "scipy"),
        (["play", "--out", "play.html"], "llvmlite"),
    ],
)
def test_what_needs_more_says_what(folder, call, package):
    status, _, errors = alone(*call)
    assert status == 2
    assert errors[-1] == f"tinymaskrcnn: this needs the package {package}: pip install {package}"


def test_nothing_can_be_compiled(folder):
    status, _, errors = alone("warmup")
    assert status == 2 and "Numba is not installed, so nothing can be compiled" in errors[-1]


# weight files


ARRAYS = {
    "b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a": np.array([True, False, True]),
    "scalar": np.array(3, np.int64),
    "empty": np.zeros((0, 4), np.float16),
    "ü": np.arange(5, dtype=np.uint8),
}


def test_weight_files_go_both_ways(tmp_path):
    """The library reads ours, and ours the library's."""
    library = pytest.importorskip("safetensors.numpy")
    for content in (plain.save(ARRAYS, {"k": "v"}), library.save(ARRAYS, {"k": "v"})):
        (tmp_path / "w").write_bytes(content)
        with plain.safe_open(tmp_path / "w") as header:
            assert header.metadata() == {"k": "v"} and set(header.offset_keys()) == set(ARRAYS)
        for read in (plain.load(content), library.load(content)):
            assert read.keys() == ARRAYS.keys()
            for name, array in ARRAYS.items():
                assert read[name].dtype == array.dtype and np.array_equal(read[name], array)


GOOD = plain.save({"w": np.zeros((2, 3), np.float32)})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        GOOD[:20],
        GOOD[:-1],
        GOOD + b"\0",
        (1 << 60).to_bytes(8, "little") + GOOD[8:],
        GOOD.replace(b"[2,3]", b"[3,3]"),
        GOOD.replace(b"[2,3]", b"[-2,]"),
        GOOD.replace(b"[0,24]", b"[4,24]"),
        GOOD.replace(b'"dtype"', b'"dtyp"+'),
        GOOD.replace(b'"w"', b"[1]"),
    ],
)
def test_damaged_weight_files(tmp_path, content):
    library = pytest.importorskip("safetensors")
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(library.SafetensorError):
        library.safe_open(tmp_path / "w", framework="numpy")
    with pytest.raises(plain.SafetensorError):
        plain.safe_open(tmp_path / "w")
    with pytest.raises(plain.SafetensorError):
        plain.load(content)


def test_a_type_that_files_lack():
    with pytest.raises(plain.SafetensorError, match="complex"):
        plain.save({"w": np.zeros(2, np.complex64)})
