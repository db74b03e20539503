"""Every lesson runs as a script, in a process of its own; its assertions hold."""

import os
import subprocess
import sys

import pytest
from PIL import Image

from lessons import FOLDER, lesson_files

pytestmark = pytest.mark.lessons


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
