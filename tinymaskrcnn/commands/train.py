"""`tinymaskrcnn train`."""

from __future__ import annotations

import argparse
import logging
import shlex
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..backend import HOST
from ..datasets import CocoDataset, ToyShapes
from ..datasets.checking import same_files
from ..datasets.large_files import object_counts
from ..datasets.shapes import HELD_BACK
from ..datasets.stretch import Stretch
from ..errors import InputError
from ..training import Recipe, Trainer, TrainingStopped, choices
from ..training.distributed import end_together, world
from ..training.initial_weights import config_of, initial_model
from ..training.recipes import listing, named, with_settings
from ..training.run_folder import read_json
from .machine import add_machine, prepare
from .options import add_images, add_settings, add_stretch
from .tables import counted, figures_table, say

logger = logging.getLogger(__name__)
FLAGS = ("seed", "steps", "batch_size", "lr", "checkpoint_every")


def add(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Without --data, a small model learns toy shapes from random weights in minutes. The run "
        "folder gets settings, metrics, figures, checkpoints, and at the end model.safetensors "
        "and result.json. With --data, what nobody has set is chosen from the images: the scale, "
        "crops, anchors and limits; a few lines say what and why. Ctrl-C finishes the step, "
        "saves, and prints how to go on."
    )
    parser.add_argument("--data", metavar="JSON", help="annotations to train on (COCO json)")
    parser.add_argument("--val", metavar="JSON", help="annotations to evaluate on (COCO json)")
    add_images(parser)
    parser.add_argument(
        "--recipe",
        metavar="NAME",
        help="named settings: shapes (default without --data), small (default with it), or cells "
        "(images of a microscope, an hour)",
    )
    parser.add_argument(
        "--weights",
        metavar="W",
        help="start from these weights: a file, or the name of a shipped model; the heads keep "
        "what they know of classes with the same names and start anew for the others",
    )
    parser.add_argument("--out", metavar="DIR", help="run folder (default: runs/RECIPE)")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue the run in that folder as if it had never stopped",
    )
    parser.add_argument(
        "--seed", type=int, metavar="N", help="seed of initial weights, data order and sampling"
    )
    parser.add_argument("--steps", type=int, metavar="N", help="number of training steps")
    parser.add_argument("--batch-size", type=int, metavar="N", help="images per step")
    parser.add_argument("--lr", type=float, metavar="X", help="learning rate")
    parser.add_argument(
        "--checkpoint-every", type=int, metavar="N", help="steps between checkpoints"
    )
    add_stretch(parser, "auto for your own images, or as the weights were trained")
    add_settings(
        parser,
        "any other setting of a recipe; `--set help` lists them; model.NAME and "
        "shapes.NAME are settings of the model and of the toy shapes; may be repeated",
    )
    add_machine(parser)


def run(options: argparse.Namespace) -> int:
    group = world()
    if "help" in options.settings:
        lines = listing(recipe_of(options))
        if group.leads:
            print("\n".join(lines))
        return 0
    with end_together(group), group.together():
        trainer = make_trainer(options)
    try:
        result = trainer.run()
    except TrainingStopped as stop:
        return stopped(str(stop), stop.signal) if group.leads else 128 + stop.signal
    except KeyboardInterrupt:  # a second Ctrl-C, or the first during the evaluation at the end
        return stopped("stopped at once; the last checkpoint stays", signal.SIGINT)
    if group.leads:
        print(figures_table(result, trainer.classes))
        steps, seconds = result["steps"], result["seconds"]
        say(f"{steps} steps, {seconds:.0f} s{threads_used()}; everything is in {trainer.out}")
    return 0


def threads_used() -> str:
    """How many threads ran kernels at the end, in words."""
    if HOST == "reference":
        return ""
    from .. import jit  # late: it needs Numba

    return f" ({counted(jit.threads_used(), 'thread')} at the end)"


def make_trainer(options: argparse.Namespace) -> Trainer:
    """The trainer that the options describe. Raises InputError."""
    recipe = recipe_of(options)
    out = Path(options.out or f"runs/{recipe_name(options)}")
    dataset, val_dataset = datasets(options, recipe)
    if isinstance(dataset, CocoDataset):
        recipe = suited(recipe, dataset, options, out)
    model = initial_model(options.weights, recipe, dataset.classes)
    prepare(options)
    model.to(options.device)
    stretch = Stretch(model.transform.config.stretch)
    for images in (dataset, val_dataset):
        if isinstance(images, CocoDataset):
            images.channels = model.in_channels
            images.stretch = stretch
    return Trainer(model, dataset, val_dataset, recipe, out, resume=options.resume)


def recipe_name(options: argparse.Namespace) -> str:
    return options.recipe or ("small" if options.data else "shapes")


def recipe_of(options: argparse.Namespace) -> Recipe:
    """The named recipe with --set and the flags applied. Raises InputError."""
    given = {flag: getattr(options, flag) for flag in FLAGS if getattr(options, flag) is not None}
    settings = [each for each in options.settings if each != "help"]
    recipe = replace(with_settings(named(recipe_name(options)), settings), **given)
    if options.stretch is None:
        return recipe
    model = {**recipe.model_settings, "stretch": options.stretch}
    return replace(recipe, model_settings=model)


def suited(recipe: Recipe, dataset: CocoDataset, options: argparse.Namespace, out: Path) -> Recipe:
    """The recipe with the settings that the data decide and nobody has given. A run that is resumed
    keeps those that it began with.
    """
    given = choices.given_in(recipe, options.settings)
    if options.resume and (out / "settings.json").exists():
        return choices.stored(recipe, read_json(out / "settings.json").get("recipe"), given)
    weights = config_of(options.weights) if options.weights else None
    found = choices.measure(dataset)
    if not len(found.sides):  # of a large file, whose masks were not read before
        raise InputError(f"{options.data}: no usable objects; check-data says why")
    chosen = choices.choose(recipe, found, given, weights)
    for line in choices.in_words(chosen):
        logger.info("chosen for these images: %s", line)
    return choices.apply(recipe, chosen)


def datasets(options: argparse.Namespace, recipe: Recipe) -> tuple[Any, Any | None]:
    """The images to train on and those to evaluate on. Raises InputError."""
    if options.data is None:
        if options.val or options.images:
            raise InputError("--val and --images go with --data")
        return shape_sets(recipe)
    limit = options.max_pixels
    train = coco_set(options.data, options.images, None, limit)
    objects, ordinary = (int(n.sum()) for n in object_counts(train.images, train.objects))
    if not objects:
        raise InputError(f"{options.data}: no objects to learn from")
    if not ordinary:
        raise InputError(
            f"{options.data}: all {objects} objects are crowds (iscrowd 1): nothing would be "
            "learnt; convert --no-crowds makes ordinary objects of them"
        )
    if options.val is None:
        logger.warning("no --val: nothing will be evaluated")
        return train, None
    val = coco_set(options.val, options.images, train.classes, limit)
    if common := same_files(val.files, train.files):
        some = ", ".join(map(str, common[:3])) + (", ..." if len(common) > 3 else "")
        logger.warning("%s: %d image(s) are trained on too: %s", options.val, len(common), some)
    return train, val


def coco_set(
    path: str, images: str | None, classes: Sequence[str] | None, limit: int
) -> CocoDataset:
    """A data set whose images all exist and have the right sizes. Raises InputError."""
    dataset = CocoDataset(path, images, classes=classes, max_pixels=limit)
    dataset.check_images()
    return dataset


def shape_sets(recipe: Recipe) -> tuple[ToyShapes, ToyShapes]:
    """Toy shapes to train on, and those held back. Raises InputError for settings they lack."""
    settings = {"count": 1000, "seed": recipe.seed} | dict(recipe.shapes)
    try:
        train = ToyShapes(**settings)
        return train, ToyShapes(**settings | {"count": HELD_BACK, "seed": 0, "split": "val"})
    except TypeError as problem:
        raise InputError(f"--set shapes: {problem}") from problem


def stopped(how: str, number: int) -> int:
    """Print how to go on after a signal, and return the exit status that shells expect."""
    print(f"tinymaskrcnn: {how}; to go on: {resume_command(sys.argv[1:])}", file=sys.stderr)
    return 128 + number


def resume_command(arguments: list[str]) -> str:
    """The command line that continues this one."""
    more = [] if "--resume" in arguments else ["--resume"]
    return f"tinymaskrcnn {shlex.join([*arguments, *more])}"
