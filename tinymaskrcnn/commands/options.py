"""What can be asked for on the command line: every command's options.

Loads nothing of what the commands do, so that `--help` and a misspelt option answer at once.
"""

from __future__ import annotations

import argparse
from typing import NoReturn

from .. import __version__
from ..errors import one_line
from ..launcher import leads

_STATUS = """\
exit status: 0 done; 1 the work failed; 2 the call or the input was wrong; 130 or 143 stopped by
Ctrl-C or SIGTERM
(training has saved everything by then). Every failure is one line on standard error."""


def command_line() -> argparse.ArgumentParser:
    """The parser of all commands; `parse_args` gives a namespace whose `command` is the name."""
    parser = _OneLineParser(
        prog="tinymaskrcnn",
        description="Mask R-CNN: train it, predict with it, measure it.",
        epilog=_STATUS,
    )
    parser.add_argument("--version", action="version", version=f"tinymaskrcnn {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (
        _add_train,
        _add_predict,
        _add_evaluate,
        _add_explain,
        _add_check,
        _add_convert,
        _add_learn,
        _add_bench,
        _add_warmup,
    ):
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
        "the heads keep what they know of classes of the same names; the rest of them is made anew",
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
    predict.add_argument(
        "--page",
        type=_page,
        metavar="N",
        help='which page or frame of files that have several, from 1, or "all" (default: the '
        "first); their results are called NAME_pageN_predicted.png",
    )
    _add_agnostic_nms(predict)
    _add_force(predict)
    _add_max_pixels(predict)
    _add_machine(predict)


def _add_evaluate(commands: argparse._SubParsersAction) -> None:
    evaluate = _command(
        commands,
        "evaluate",
        "COCO's figures for boxes and masks, and why what is wrong is wrong",
        "Without --data: on 200 toy-shape pictures that training never sees. Below the figures it "
        "counts, of each class, the objects that were missed and the detections that are wrong, by "
        "the kinds of TIDE: location (IoU 0.1 to 0.5), class, duplicate, background, or both class "
        "and location.",
    )
    _add_weights(evaluate)
    evaluate.add_argument("--data", metavar="JSON", help="annotations to compare with (COCO json)")
    _add_images(evaluate)
    evaluate.add_argument(
        "--json", action="store_true", help="print the figures as JSON on standard output"
    )
    evaluate.add_argument(
        "--score",
        type=float,
        default=0.5,
        help="errors are of what is at least as sure (default: 0.5); the figures take all",
    )
    evaluate.add_argument(
        "--errors",
        metavar="DIR",
        help="folder for worst.png, the pictures with most errors, and errors.json with every one",
    )
    _add_agnostic_nms(evaluate)
    _add_force(evaluate)
    _add_machine(evaluate)


def _add_explain(commands: argparse._SubParsersAction) -> None:
    explain = _command(
        commands,
        "explain",
        "write a page that shows every stage of one picture",
        "One HTML file without any other: anchors, proposals, crops, classes, masks, and why each "
        "box stayed or went, with sliders that decide again. With --targets also matching, losses, "
        "gradients, and the reason of each mistake.",
    )
    explain.add_argument("picture", metavar="PICTURE", help="a picture file")
    explain.add_argument(
        "--out", metavar="HTML", default="report.html", help="the page (default: report.html)"
    )
    _add_weights(explain)
    explain.add_argument(
        "--targets", metavar="JSON", help="annotations that know this picture (COCO json)"
    )
    explain.add_argument(
        "--page", type=_positive, metavar="N", help="which page or frame of the file (default: 1)"
    )
    _add_force(explain)
    _add_images(explain)
    _add_machine(explain)


def _add_check(commands: argparse._SubParsersAction) -> None:
    check = _command(
        commands,
        "check-data",
        "find what is wrong with a data set",
        "Reads each COCO json and all its pictures. Errors are what training or pycocotools could "
        "not use, and status 2; warnings are the rest. Says how well a model's anchors cover the "
        "boxes, and draws a contact sheet. Of several files the first is what is trained on: the "
        "others are searched for its pictures.",
    )
    check.add_argument("data", nargs="+", metavar="JSON", help="annotations (COCO json)")
    check.add_argument("--strict", action="store_true", help="warnings are status 2, too")
    check.add_argument(
        "--sheet", metavar="PNG", help="the contact sheet (default: NAME_check.png, in this folder)"
    )
    check.add_argument(
        "--recipe",
        metavar="NAME",
        default="small",
        help="whose model's anchors to compare with (default: small)",
    )
    check.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="settings",
        help="a setting of the recipe, such as model.anchor_sizes=8,16,32,64,128",
    )
    _add_force(check)
    _add_images(check)


def _add_convert(commands: argparse._SubParsersAction) -> None:
    convert = _command(
        commands,
        "convert",
        "make COCO json of other annotations",
        "SOURCE is a COCO, VIA (1 or 2) or labelme json, a folder with one or with labelme jsons, "
        "or a folder of masks: ID/masks/*.png for each picture; or one picture of instance ids for "
        "each, NAME.png in masks/ beside images/, or NAME_mask.png beside NAME. Boxes and areas "
        "are made from the masks. What cannot be taken over is named and left out; where that is a "
        "file that cannot be read, the status is 1.",
    )
    convert.add_argument("source", metavar="SOURCE", help="a file or a folder")
    convert.add_argument("--out", metavar="JSON", required=True, help="the file to write")
    convert.add_argument(
        "--format", choices=("coco", "via", "labelme", "masks"), help="if it is not recognised"
    )
    convert.add_argument(
        "--images", metavar="DIR", help="where the pictures are, if not where SOURCE says"
    )
    convert.add_argument(
        "--class",
        dest="class_name",
        metavar="NAME",
        help="the class of objects that come without one (default: object)",
    )
    convert.add_argument(
        "--class-attribute",
        metavar="NAME",
        help="which attribute of a VIA region is its class, if there are several",
    )
    convert.add_argument(
        "--split", action="store_true", help="make every separate piece of a mask an object"
    )
    help_text = "make ordinary objects of crowds (iscrowd 1), which is how brush tools write masks"
    convert.add_argument("--no-crowds", action="store_true", help=help_text)
    convert.add_argument(
        "--force",
        action="store_true",
        help="replace the file if it exists, unless it is one that is converted",
    )
    convert.add_argument(
        "--strict", action="store_true", help="write nothing if anything would be left out"
    )


def _add_learn(commands: argparse._SubParsersAction) -> None:
    learn = _command(
        commands,
        "learn",
        "the lessons' exercises: what is next, and whether an answer is right",
        "Without a name: every exercise, and the next one. With a lesson's topic (boxes_iou, or "
        "06) or an exercise's name: checks the answers in lessons/exercises/, and where one is "
        "wrong shows the smallest input on which it is. The status is 1 then. Works from a clone.",
    )
    learn.add_argument("name", nargs="?", metavar="NAME", help="a topic or an exercise")


def _add_warmup(commands: argparse._SubParsersAction) -> None:
    warmup = _command(
        commands,
        "warmup",
        "compile every kernel now",
        "Kernels are compiled for this machine when they are first used, and kept. This does it "
        "all at once.",
    )
    warmup.add_argument(
        "--clear", action="store_true", help="remove the kept kernels of all versions instead"
    )
    _add_machine(warmup)


def _add_bench(commands: argparse._SubParsersAction) -> None:
    bench = _command(
        commands,
        "bench",
        "measure how fast everything is (from a clone of the repository)",
        "Validates, then times whole models, layers, operators, scaling and start-up, and prints "
        "tables with GF/s and the share of this machine's peak; all rows take about ten minutes.",
    )
    bench.add_argument(
        "names", nargs="*", metavar="NAME", help="parts of rows' or sections' names (default: all)"
    )
    bench.add_argument("--list", action="store_true", help="show the rows' names")
    bench.add_argument(
        "--peer", metavar="PYTHON", help="also measure torch and torchvision, in this interpreter"
    )
    bench.add_argument("--rounds", type=_positive, metavar="N", help="of every row (default: 5)")
    bench.add_argument("--seconds", type=float, help="of timed calls, a round (default: 0.3)")
    bench.add_argument("--threads", type=_positive, metavar="N", help="CPU threads (default: all)")
    bench.add_argument("--json", metavar="FILE", help="write the figures there, too")
    _add_force(bench)


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


def _add_agnostic_nms(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--agnostic-nms",
        action="store_true",
        help="of boxes that overlap keep the best one, whatever their classes "
        "(default: the best of each class)",
    )


def _add_force(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace files that this command did not write, but never what it reads",
    )


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


def _page(text: str) -> int | str:
    """A page's number from 1, or "all"."""
    return text if text == "all" else _positive(text)


def _add_machine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="CPU threads (default: all, and fewer while other programs need the cores)",
    )
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="where to compute (default: cpu)"
    )


class _OneLineParser(argparse.ArgumentParser):
    """Says what is wrong with a call in one line."""

    def error(self, message: str) -> NoReturn:
        text = f"{self.prog}: {one_line(message)} (see {self.prog} --help)\n"
        self.exit(2, text if leads() else None)
