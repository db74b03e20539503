"""`tinymaskrcnn play`."""

from __future__ import annotations

import argparse

from ..errors import InputError
from ..files import check_output, identities, mark, write_atomic
from ..models.keywords import unlike_torchvision
from ..models.pretrained import load_model, weights_path
from ..play.pages import play_page
from .options import add_force, add_weights, output_file
from .tables import say


def add(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Writes one self-contained HTML file with the model in it. Open it in a browser, draw or "
        "drop an image, and see anchors, proposals, boxes and masks follow. Make a head forget "
        "and watch it learn again. The page needs no network and no Python. The model is one of "
        "maskrcnn_tiny, for RGB or grey images."
    )
    parser.add_argument(
        "--out", metavar="HTML", default="play.html", help="the page (default: play.html)"
    )
    add_weights(parser)
    add_force(parser)


def run(options: argparse.Namespace) -> int:
    out = output_file("--out", options.out)
    model, weights = load_model(options.weights), weights_path(options.weights)
    if other := unlike_torchvision(model.config):
        name, value = next(iter(other.items()))
        raise InputError(f"{weights}: the page does not follow the setting {name} ({value!r})")
    check_output(out, identities([weights]), mark("play"), options.force)
    try:
        page = play_page(model, options.weights)
    except InputError as problem:
        raise InputError(f"{weights}: {problem}") from problem
    try:
        write_atomic(out, page.encode())
    except OSError as problem:
        raise InputError(f"--out {out}: {problem.strerror}") from problem
    say(f"{options.weights} -> {out} ({len(page) / 1e6:.1f} MB); open it in a browser")
    return 0
