"""Lessons open as notebooks: converted by jupytext, and run by a kernel."""

import ast
import os
import subprocess
import sys

import pytest

from lessons import FOLDER, lesson_files

pytestmark = pytest.mark.lessons
CHOSEN = ("00_tour", "02_convolution", "06_boxes_iou")


@pytest.mark.parametrize(
    "path", [p for p in lesson_files() if p.stem in CHOSEN], ids=lambda p: p.stem
)
def test_a_lesson_as_a_notebook(path, tmp_path):
    pytest.importorskip("jupytext")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    nbformat = pytest.importorskip("nbformat")
    target = tmp_path / f"{path.stem}.ipynb"
    convert = [sys.executable, "-m", "jupytext", "--to", "ipynb", "--output", str(target)]
    subprocess.run([*convert, str(path)], check=True, capture_output=True)
    notebook = nbformat.read(target, as_version=4)
    environment = os.environ | {"PYTHONPATH": str(FOLDER.parent)}
    client = nbclient.NotebookClient(notebook, kernel_name="python3", timeout=600)
    client.execute(cwd=str(tmp_path), env=environment)
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", ())]
    kinds = [kind for out in outputs for kind in out.get("data", {})]
    pages = [out["data"].get("text/html", "") for out in outputs if "data" in out]
    assert sum(page.startswith("<figure><img ") for page in pages) >= 2
    assert path.stem == "00_tour" or "text/markdown" in kinds  # the source of a function
    for shown in (out["data"].get("text/markdown", "") for out in outputs if "data" in out):
        ast.parse(shown.partition("```python\n")[2].removesuffix("```"))  # as it stands in its file
