"""Options that several commands share, and checks of their values."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..datasets.images import MAX_PIXELS
from ..errors import InputError


def add_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights",
        metavar="W",
        default="shapes",
        help="a .safetensors or .pth file, or a shipped model: shapes (default) or nuclei",
    )


def add_settings(parser: argparse.ArgumentParser, help_text: str) -> None:
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="settings",
        help=help_text,
    )


def add_images(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--images",
        metavar="DIR",
        help="where the images are (default: images/ beside the json, then beside it)",
    )
    add_max_pixels(parser)


def add_max_pixels(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-pixels",
        type=positive,
        metavar="N",
        default=MAX_PIXELS,
        help=f"refuse larger images (default: {MAX_PIXELS // 10**6} million pixels)",
    )


def add_score(parser: argparse.ArgumentParser, help_text: str) -> None:
    parser.add_argument("--score", type=share, default=0.5, help=help_text)


def add_agnostic_nms(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--agnostic-nms",
        action="store_true",
        help="keep only the best of the boxes that overlap, whatever their classes "
        "(default: the best of each class)",
    )


def add_force(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace files that this command did not write, but never one that it reads",
    )


def positive(text: str) -> int:
    """A whole number above 0; argparse shows the name of this function for anything else."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number}: expected at least 1")
    return number


def share(text: str) -> float:
    """A number from 0 to 1; argparse shows the name of this function for what is no number."""
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{number}: expected 0 to 1")
    return number


def output_folder(option: str, name: str) -> Path:
    """The folder, made if missing. Raises InputError if it cannot be."""
    path = Path(name)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise InputError(f"{option} {name}: {problem.strerror}") from problem
    return path


def output_file(option: str, name: str) -> Path:
    """The file. Raises InputError if its folder does not exist, or if it is a folder itself."""
    path = Path(name)
    if path.is_dir():
        raise InputError(f"{option} {name}: this is a folder, expected the name of a file")
    if not path.parent.is_dir():
        raise InputError(f"{option} {name}: there is no folder {path.parent}")
    return path
