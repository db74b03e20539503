"""Options that several commands share."""

from __future__ import annotations

import argparse

from ..datasets.images import MAX_PIXELS


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
