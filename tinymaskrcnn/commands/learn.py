"""`tinymaskrcnn learn`: the exercises of the lessons, which live in a clone beside this package."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from pathlib import Path

from ..errors import InputError

ROOT = Path(__file__).resolve().parents[2]


def run(options: argparse.Namespace) -> int:
    if not (ROOT / "lessons" / "exercises").is_dir():
        raise InputError(
            f"learn: the lessons are not beside this package ({ROOT / 'lessons'}): it works from a "
            "clone of the repository, installed with pip install -e '.[test]'"
        )
    if importlib.util.find_spec("hypothesis") is None:
        raise InputError("learn: needs the package hypothesis: pip install -e '.[test]'")
    sys.path.insert(0, str(ROOT))
    console = importlib.import_module("lessons.checking.console")
    return console.check_named(options.name) if options.name else console.overview()
