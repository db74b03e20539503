"""`tinymaskrcnn learn`: the exercises of the lessons, which live in a clone beside this package."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from pathlib import Path

from ..errors import InputError

ROOT = Path(__file__).resolve().parents[2]


def add(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Without a name, lists all exercises and shows the next one. With a lesson's topic "
        "(boxes_iou, or 06) or an exercise's name, checks the answers in lessons/exercises/ and "
        "shows the smallest input on which an answer is wrong; the status is then 1. Each exercise "
        "has three hints: a nudge, a plan, and almost the answer. A changed answer that fails for "
        "an unknown reason gets one more, and --hint gives one more at any time; after the "
        "third it says where the solution stands, and a right answer starts them again. --watch "
        "checks each time the file is saved, until Ctrl-C. With --mine, "
        "runs the model on an image with the answers that are parts of it, and shows what a "
        "wrong one spoils. Needs a clone of the repository."
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="a topic or an exercise")
    parser.add_argument(
        "--hint",
        action="store_true",
        help="show one more hint: of an exercise, or of the next one of a lesson or of all",
    )
    parser.add_argument(
        "--watch", action="store_true", help="check again each time the file is saved"
    )
    parser.add_argument(
        "--mine",
        action="store_true",
        help="run the model on an image with the parts that you have written (those of kind "
        "build); NAME may then be an image file",
    )
    parser.add_argument(
        "--train", action="store_true", help="with --mine: train a small model with your parts"
    )


def run(options: argparse.Namespace) -> int:
    if options.train and not options.mine:
        raise InputError("learn --train: expected --mine with it")
    if options.train and options.name:
        raise InputError(f"learn --mine --train: takes no image, got {options.name}")
    modes = [f"--{mode}" for mode in ("hint", "watch", "mine") if getattr(options, mode)]
    if len(modes) > 1:
        raise InputError(f"learn: {' and '.join(modes)} do not go together; take one")
    if not (ROOT / "lessons" / "exercises").is_dir():
        raise InputError(
            f"learn: the lessons are not beside this package ({ROOT / 'lessons'}): it works from a "
            "clone of the repository, installed with pip install -e '.[test]'"
        )
    if importlib.util.find_spec("hypothesis") is None:
        raise InputError("learn: needs the package hypothesis: pip install -e '.[test]'")
    sys.path.insert(0, str(ROOT))
    if options.mine:
        mine = importlib.import_module("lessons.checking.mine")
        return mine.run_mine(options.name, options.train)
    if options.watch:
        return importlib.import_module("lessons.checking.watch").watch(options.name)
    console = importlib.import_module("lessons.checking.console")
    if options.hint:
        return console.hint(options.name)
    return console.check_named(options.name) if options.name else console.overview()
