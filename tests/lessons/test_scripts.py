"""Every lesson runs as a script, in a process of its own; its assertions hold."""

import os
import subprocess
import sys

import pytest
from PIL import Image

from lessons import FOLDER, lesson_files

pytestmark = pytest.mark.lessons

ALONE = """
import runpy, sys
for name in "numba llvmlite scipy pycocotools safetensors tqdm matplotlib".split():
    sys.modules[name] = None
runpy.run_path(sys.argv[1], run_name="__main__")
"""


@pytest.mark.parametrize("path", lesson_files(), ids=lambda path: path.stem)
def test_runs(path, tmp_path):
    environment = os.environ | {
        "PYTHONPATH": str(FOLDER.parent),
        "TINYMASKRCNN_FIGURES": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, str(path)], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    figures = sorted(tmp_path.glob("*.png"))
    assert len(figures) >= (1 if path.stem == "19_one_file" else 2)
    for figure in figures:
        width, height = Image.open(figure).size
        assert min(width, height) >= 100 and max(width, height) <= 2400


@pytest.mark.parametrize("number", ["06", "12", "15"])  # .ci/run runs all that can
def test_numpy_and_pillow_are_enough(number, tmp_path):
    """Every number holds; in place of a figure stands what it would need."""
    (path,) = (path for path in lesson_files() if path.stem.startswith(f"{number}_"))
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(path)],
        env=os.environ | {"PYTHONPATH": str(FOLDER.parent), "TINYMASKRCNN_FIGURES": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "Numba is not installed: NumPy does all the work, slowly\n"
    lacking = [line for line in done.stdout.splitlines() if line.startswith("no figure (")]
    assert len(lacking) >= 2
    assert all(
        line.endswith("): this needs the package matplotlib: pip install matplotlib")
        for line in lacking
    )
