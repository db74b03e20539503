"""Options that several commands share, and checks of their values."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..datasets.images import MAX_PIXELS
from ..errors import InputError
from ..models.any_size import limit_objects
from ..models.mask_rcnn import MaskRCNN
from ..models.pretrained import load_model
from ..models.transform import STRETCH
from ..settings import SCALE, described
from ..training.recipes import MODEL_SETTINGS, Recipe, with_settings


def add_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights",
        metavar="W",
        default="shapes",
        help="a .safetensors, .pth or .pkl file, a run's folder, or a shipped model: shapes "
        "(default), nuclei, or cells, which is for your own microscope images",
    )


def add_view(parser: argparse.ArgumentParser, tiles: bool = True) -> None:
    """How the model is shown an image, and how much it may find there."""
    parser.add_argument(
        "--scale",
        type=scale,
        metavar="X",
        help="input pixels per image pixel, for images of any size (default: the model's own; a "
        "model without one shrinks or enlarges each image to model.min_size)",
    )
    if tiles:
        parser.add_argument(
            "--tile",
            type=tile,
            metavar="N",
            help="cut images into overlapping tiles of about N pixels, or never, with off "
            "(default: where an image is large after scaling)",
        )
    parser.add_argument(
        "--max-objects",
        type=positive,
        metavar="N",
        help="limit of the objects per image (default: grows with the image's area)",
    )
    add_settings(
        parser,
        "any setting of the model, as model.NAME=VALUE; `--set help` lists them; may be repeated",
    )


def settings_help(options: argparse.Namespace) -> list[str] | None:
    """What `--set help` prints, if it is given: the settings of the model with these weights."""
    if "help" not in options.settings:
        return None
    config = load_model(options.weights).config
    values = {f"model.{name}": value for name, value in config.items()}
    return described(MODEL_SETTINGS, values)


def model_of(options: argparse.Namespace) -> MaskRCNN:
    """The model that the options describe: its weights, with other settings. Raises InputError."""
    for given in options.settings:
        if not given.startswith("model."):
            raise InputError(
                f"--set {given}: expected model.NAME=VALUE, a setting of the model; --set help "
                "lists them"
            )
    changes = dict(with_settings(Recipe(), options.settings).model_settings)
    if getattr(options, "agnostic_nms", False):
        changes["box_class_agnostic_nms"] = True
    if getattr(options, "stretch", None):
        changes["stretch"] = options.stretch
    if options.scale is not None:
        changes["scale"] = options.scale
    model = load_model(options.weights, **changes)
    if getattr(options, "max_objects", None):
        limit_objects(model, options.max_objects)
    return model


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


def add_stretch(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--stretch",
        type=stretch,
        metavar="HOW",
        help="auto stretches dark grey images by their percentiles 1 and 99.8; off does not; "
        f"LOW,HIGH stretches every image by these percentiles (default: {default})",
    )


def stretch(text: str) -> str | tuple[float, ...]:
    """auto, off or two percentiles."""
    try:
        how = STRETCH.read(text)
    except ValueError:
        how = None
    if not STRETCH.holds(how):
        raise argparse.ArgumentTypeError(f"{text}: expected {STRETCH.description}")
    return how


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


def scale(text: str) -> float:
    """A scale; argparse shows the name of this function for what is no number."""
    number = float(text)
    if not SCALE.holds(number):
        raise argparse.ArgumentTypeError(f"{text}: expected {SCALE.description}")
    return number


def tile(text: str) -> int:
    """The side of a tile, or 0 for "off"."""
    return 0 if text == "off" else positive(text)


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
