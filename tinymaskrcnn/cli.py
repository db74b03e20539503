"""The command line: what can be asked for, and how its success or failure is told.

Each command's work is in commands/, loaded when it is asked for, so that `--help` and a misspelt
option answer at once.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

from . import __version__
from .errors import InputError, NonFiniteError

_STATUS = """\
exit status: 0 done; 1 the work failed; 2 the call or the input was wrong; 130 or 143 stopped by
Ctrl-C or SIGTERM
(training has saved everything by then). Every failure is one line on standard error."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (sys.argv by default) and return its exit status."""
    options = _parser().parse_args(arguments)
    _show_log()
    try:
        status = importlib.import_module(f".commands.{options.command}", __package__).run(options)
        sys.stdout.flush()
        return status
    except InputError as problem:
        return _fail(2, problem)
    except NonFiniteError as problem:
        return _fail(1, problem)
    except KeyboardInterrupt:
        return _fail(130, "stopped")
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as problem:
        return _fail(1, f"{problem.filename}: {problem.strerror}" if problem.filename else problem)
    except MemoryError:
        return _fail(1, "not enough memory; smaller pictures or --batch-size would need less")


def _fail(status: int, message: object) -> int:
    print(f"tinymaskrcnn: {' '.join(str(message).split())}", file=sys.stderr)
    return status


class _OneLineParser(argparse.ArgumentParser):
    """Says what is wrong with a call in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _show_log() -> None:
    """The package's log from INFO on, of other packages only what Python shows by itself."""
    logger = logging.getLogger(__package__)
    logger.setLevel(logging.INFO)
    logger.handlers = [_BarFriendlyHandler()]
    # Pillow warns of damaged files in lines of its own; we say in one what is wrong with a file
    warnings.filterwarnings("ignore", module=r"PIL\.")


class _BarFriendlyHandler(logging.Handler):
    """Log lines on standard error, above the progress bar where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        tqdm.write(self.format(record), file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = _OneLineParser(
        prog="tinymaskrcnn",
        description="Mask R-CNN: train it, predict with it, measure it.",
        epilog=_STATUS,
    )
    parser.add_argument("--version", action="version", version=f"tinymaskrcnn {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (_add_train, _add_predict, _add_evaluate, _add_warmup):
        add(commands)
    return parser


def _add_train(commands: argparse._SubParsersAction) -> None:
    train = _command(
        commands,
        "train",
        "train a model: on toy shapes, or on your pictures and a COCO json",
        "Without --data, a small model learns toy shapes from random weights in minutes. The run "
        "folder gets settings, metrics, pictures, checkpoints, and at the end model.safetensors "
        "and result.json. Ctrl-C finishes the step, saves, and says how to go on.",
    )
    train.add_argument("--data", metavar="JSON", help="annotations to train on (COCO json)")
    train.add_argument("--val", metavar="JSON", help="annotations to evaluate on (COCO json)")
    _add_images(train)
    train.add_argument(
        "--recipe",
        metavar="NAME",
        help="named settings: shapes (default without --data) or small (default with it)",
    )
    train.add_argument(
        "--weights",
        metavar="W",
        help="start from these weights: a file, or a shipped model's name; "
        "heads of other classes are made anew",
    )
    train.add_argument("--out", metavar="DIR", help="run folder (default: runs/RECIPE)")
    train.add_argument(
        "--resume",
        action="store_true",
        help="continue the run in that folder, as if it had never stopped",
    )
    train.add_argument("--seed", type=int, help="of initial weights, data order and sampling")
    train.add_argument("--steps", type=int, help="how many steps to train")
    train.add_argument("--batch-size", type=int, metavar="N", help="pictures a step")
    train.add_argument("--lr", type=float, help="learning rate")
    train.add_argument(
        "--checkpoint-every", type=int, metavar="N", help="steps between checkpoints"
    )
    train.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="settings",
        help="any other setting of a recipe (training/recipes.py lists them); model.NAME and "
        "shapes.NAME reach the model's and the toy shapes'; may be repeated",
    )
    _add_machine(train)


def _add_predict(commands: argparse._SubParsersAction) -> None:
    predict = _command(
        commands,
        "predict",
        "find the objects in pictures",
        "Writes each picture with its objects drawn on it, as DIR/NAME_predicted.png. Pictures "
        "that cannot be read are named and left out; the status is then 1 (2 for a single file).",
    )
    predict.add_argument(
        "pictures", nargs="+", metavar="PICTURE", help="files, and folders of them"
    )
    _add_weights(predict)
    predict.add_argument(
        "--score",
        type=float,
        default=0.5,
        help="leave out what is less sure than this (default: 0.5)",
    )
    predict.add_argument(
        "--out",
        metavar="DIR",
        default="predictions",
        help="folder for the results (default: predictions)",
    )
    predict.add_argument(
        "--json",
        action="store_true",
        help="also write DIR/predictions.json: COCO json with scores, masks as RLE",
    )
    _add_max_pixels(predict)
    _add_machine(predict)


def _add_evaluate(commands: argparse._SubParsersAction) -> None:
    evaluate = _command(
        commands,
        "evaluate",
        "COCO's twelve figures for boxes and masks",
        "Without --data: on 200 toy-shape pictures that training never sees.",
    )
    _add_weights(evaluate)
    evaluate.add_argument("--data", metavar="JSON", help="annotations to compare with (COCO json)")
    _add_images(evaluate)
    evaluate.add_argument(
        "--json", action="store_true", help="print the figures as JSON on standard output"
    )
    _add_machine(evaluate)


def _add_warmup(commands: argparse._SubParsersAction) -> None:
    warmup = _command(
        commands,
        "warmup",
        "compile every kernel now",
        "Kernels are compiled for this machine when they are first used, and kept. This does it "
        "all at once.",
    )
    _add_machine(warmup)


def _command(
    commands: argparse._SubParsersAction, name: str, summary: str, description: str
) -> argparse.ArgumentParser:
    return commands.add_parser(name, help=summary, description=description, epilog=_STATUS)


def _add_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights",
        metavar="W",
        default="shapes",
        help="a .safetensors or .pth file, or a shipped model: shapes (default) or nuclei",
    )


def _add_images(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--images",
        metavar="DIR",
        help="where the pictures are (default: images/ beside the json, then beside it)",
    )
    _add_max_pixels(parser)


def _add_max_pixels(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-pixels",
        type=_positive,
        metavar="N",
        help="refuse larger pictures (default: 64 million pixels)",
    )


def _positive(text: str) -> int:
    """A whole number above 0; argparse shows the name of this function where it is none."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number}: expected at least 1")
    return number


def _add_machine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: all)")
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="where to compute (default: cpu)"
    )
