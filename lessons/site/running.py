"""What pages need to run Python in the reader's browser: the course as an archive, the model
weights, Hypothesis for the checks, and the address of Pyodide. static/run.js does the rest.

All of it lies in the site's folder `run/`; a page loads nothing of it before its reader presses a
button.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

CLONE = Path(__file__).resolve().parents[2]
# Pure Python, which the newest are not: Pyodide has none of its own
WHEELS = ("hypothesis==6.155.7", "sortedcontainers==2.4.0")
PARTS = ("tinymaskrcnn", "lessons", "data/shapes", "data/nuclei", "data/coco_demo")
LEFT_OUT = {".safetensors", ".pyc", ".md", ".css", ".js", ".html", ".pyi"}
WEIGHTS = ("shapes", "nuclei")
OLDEST = (1980, 1, 1, 0, 0, 0)  # the same files make the same archive


def add_course(folder: Path) -> None:
    """Write the archives and the weights into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "course.zip", CLONE, [p for part in PARTS for p in (CLONE / part).rglob("*")])
    for name in WEIGHTS:
        shutil.copy(CLONE / "tinymaskrcnn" / "pretrained" / f"{name}.safetensors", folder)
    if not (folder / "checks.zip").exists():
        _add_checks(folder)


def _write(archive: Path, root: Path, paths: list[Path]) -> None:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(paths):
            inside = path.relative_to(root)
            if path.is_file() and path.suffix not in LEFT_OUT and "__pycache__" not in inside.parts:
                entry = zipfile.ZipInfo(inside.as_posix(), OLDEST)
                entry.compress_type = zipfile.ZIP_DEFLATED
                file.writestr(entry, path.read_bytes())


def _add_checks(folder: Path) -> None:
    """Fetch Hypothesis, once; without a network the site has no checks, and says so."""
    wheels = folder.parent.with_name("wheels")
    call = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(wheels)]
    any_machine = ["--only-binary=:all:", "--platform", "any", "--python-version", "3.14"]
    done = subprocess.run([*call, *any_machine, *WHEELS], check=False, capture_output=True)
    if done.returncode:
        print(f"lessons.site: {WHEELS[0]} could not be fetched: pages will not check exercises")
        return
    unpacked = wheels / "unpacked"
    for wheel in wheels.glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(unpacked)
    _write(folder / "checks.zip", unpacked, list(unpacked.rglob("*")))
