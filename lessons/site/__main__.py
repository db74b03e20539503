"""Build the site: `python -m lessons.site [FOLDER]` (default: build/site). Needs no network.

Runs every lesson; what was run before and has not changed is kept in FOLDER/.cache.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

LESSONS = Path(__file__).resolve().parents[1]


def main(folder: str = "build/site") -> int:
    """Build into the folder; gives the exit status. Warnings are errors."""
    try:
        from sphinx.cmd.build import build_main
    except ImportError:
        print("lessons.site: needs Sphinx: pip install -e '.[site]'", file=sys.stderr)
        return 2
    out = Path(folder).resolve()
    paths = [str(LESSONS.parent), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))  # for the lessons' kernels
    os.environ["LESSONS_SITE_CACHE"] = str(out / ".cache")
    settings = ["-b", "html", "-c", str(LESSONS / "site"), "-d", str(out / ".cache" / "doctrees")]
    return build_main([*settings, "-W", "--keep-going", "-q", str(LESSONS), str(out)])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
