"""Build the site: `python -m lessons.site [FOLDER] [--pyodide WHERE]` (default: build/site).

Runs every lesson; results of unchanged lessons are taken from FOLDER-cache. Needs no network, but
for one thing: the first build fetches Hypothesis, with which pages check exercises.

Pages run Python with Pyodide. It is looked for beside the site, in the folder `pyodide`; WHERE is
a folder to copy there, or an address to take it from instead.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from .running import add_course

BESIDE = "./pyodide/"
LESSONS = Path(__file__).resolve().parents[1]
DATA = LESSONS.parent / "data"
EXPLAINED = {"shapes": "shapes_024.png", "nuclei": "a6e81120d1cb_077_086.png"}


def main(words: list[str] | None = None) -> int:
    """Build the site; return the exit status. Warnings are errors."""
    parser = argparse.ArgumentParser("lessons.site", description="Build the course as a site.")
    parser.add_argument("folder", nargs="?", default="build/site", help="default: build/site")
    parser.add_argument(
        "--pyodide",
        metavar="WHERE",
        default=BESIDE,
        help="where pages find Pyodide, which runs their cells: an address, or a folder to copy "
        "into the site (default: the site's folder pyodide)",
    )
    options = parser.parse_args(words)
    copied = options.pyodide != BESIDE and "://" not in options.pyodide
    if copied and not (Path(options.pyodide) / "pyodide.mjs").is_file():
        parser.error(f"--pyodide {options.pyodide}: no file pyodide.mjs there")
    try:
        from sphinx.cmd.build import build_main
    except ImportError:
        print("lessons.site: needs Sphinx: pip install -e '.[site]'", file=sys.stderr)
        return 2
    out = Path(options.folder).resolve()
    paths = [str(LESSONS.parent), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))  # for the lessons' kernels
    cache = out.with_name(f"{out.name}-cache")
    os.environ["LESSONS_SITE_CACHE"] = str(cache)
    _add_pages(cache / "pages")
    add_course(cache / "pages" / "run")
    if copied:
        shutil.copytree(options.pyodide, out / "pyodide", dirs_exist_ok=True)
    os.environ["LESSONS_SITE_PYODIDE"] = BESIDE if copied else options.pyodide
    settings = ["-b", "html", "-c", str(LESSONS / "site"), "-d", str(cache / "doctrees")]
    return build_main([*settings, "-W", "--keep-going", "-q", str(LESSONS), str(out)])


def _add_pages(folder: Path) -> None:
    """Make the playground (`tinymaskrcnn play`), and the page of every stage (`tinymaskrcnn
    explain`) for one image per shipped model.
    """
    from tinymaskrcnn.cli import main as command

    folder.mkdir(parents=True, exist_ok=True)
    calls = {"play": ["play"]}
    for name, image in EXPLAINED.items():
        targets = str(DATA / name / "annotations.json")
        given = [str(DATA / name / image), "--weights", name, "--targets", targets]
        calls[f"explain_{name}"] = ["explain", *given]
    for name, call in calls.items():
        page = folder / f"{name}.html"
        if not page.exists() and command([*call, "--out", str(page)]):
            raise SystemExit(f"lessons.site: {page} could not be made")


if __name__ == "__main__":
    sys.exit(main())
