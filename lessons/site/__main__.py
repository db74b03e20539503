"""Build the site: `python -m lessons.site [FOLDER]` (default: build/site). Needs no network.

Runs every lesson; results of unchanged lessons are taken from FOLDER-cache.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

LESSONS = Path(__file__).resolve().parents[1]
DATA = LESSONS.parent / "data"
EXPLAINED = {"shapes": "shapes_024.png", "nuclei": "a6e81120d1cb_077_086.png"}


def main(folder: str = "build/site") -> int:
    """Build into the folder; return the exit status. Warnings are errors."""
    try:
        from sphinx.cmd.build import build_main
    except ImportError:
        print("lessons.site: needs Sphinx: pip install -e '.[site]'", file=sys.stderr)
        return 2
    out = Path(folder).resolve()
    paths = [str(LESSONS.parent), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))  # for the lessons' kernels
    cache = out.with_name(f"{out.name}-cache")
    os.environ["LESSONS_SITE_CACHE"] = str(cache)
    _add_pages(cache / "pages")
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
    sys.exit(main(*sys.argv[1:]))
