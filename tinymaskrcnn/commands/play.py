"""`tinymaskrcnn play`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import InputError
from ..files import check_output, identities, mark, write_atomic
from ..models.mask_rcnn import MaskRCNN
from ..models.pretrained import load_model, weights_path
from ..play.pages import play_page
from .options import add_force, add_weights, output_file
from .tables import say

MOST_MOMENTS = 8  # of a training in one page


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
    parser.add_argument(
        "--history",
        action="store_true",
        help="with a run's folder: also go back and forth through its whole training, with your "
        "drawing as the input (a larger file)",
    )
    add_force(parser)


def run(options: argparse.Namespace) -> int:
    out = output_file("--out", options.out)
    model, weights = load_model(options.weights), weights_path(options.weights)
    check_output(out, identities([weights]), mark("play"), options.force)
    try:
        history = moments_of(Path(options.weights), model) if options.history else None
        page = play_page(model, options.weights, history=history)
    except InputError as problem:
        raise InputError(f"{weights}: {problem}") from problem
    try:
        write_atomic(out, page.encode())
    except OSError as problem:
        raise InputError(f"--out {out}: {problem.strerror}") from problem
    say(f"{options.weights} -> {out} ({len(page) / 1e6:.1f} MB); open it in a browser")
    return 0


def moments_of(run: Path, final: MaskRCNN) -> dict[int, MaskRCNN]:
    """A run's model after at most eight numbers of steps, as the training kept it.

    Raises:
        InputError: the folder has no such files, or one cannot be read or is of another model.
    """
    files = sorted((run / "explain").glob(f"step-{'[0-9]' * 8}.safetensors"))
    if len(files) < 2:
        raise InputError(
            "--history: expected the folder of a run with weights in explain/step-*.safetensors; "
            "`train` keeps them for small models"
        )
    last = len(files) - 1
    if last >= MOST_MOMENTS:
        files = [files[round(i * last / (MOST_MOMENTS - 1))] for i in range(MOST_MOMENTS)]
    moments = {int(file.stem.removeprefix("step-")): load_model(file) for file in files}
    for file, model in zip(files, moments.values(), strict=True):
        if model.config != final.config:
            raise InputError(f"{file}: not of the model in {run}, its settings are others")
    return moments
