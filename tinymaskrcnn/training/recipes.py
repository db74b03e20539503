"""Recipes: every setting of a training run in one frozen dataclass, the named recipes, and `--set
name=value`.

A recipe and a data set decide the weights, bit for bit at any number of threads (unless a time
budget ends the run).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from typing import Any

from ..errors import InputError
from ..models.builders import TINY
from ..models.keywords import ResNetConfig, TinyConfig, keywords
from ..settings import (
    MANY,
    NAME,
    SEED,
    SHARE,
    YES_OR_NO,
    Kind,
    check,
    described,
    literal,
    number,
    one_of,
    read,
    setting,
    several,
    similar,
    whole,
)

BY_NAME = Kind(
    lambda v: isinstance(v, Mapping) and all(isinstance(name, str) for name in v),
    "settings by name",
    literal,
)
NUMBERS = Kind(
    lambda v: isinstance(v, tuple | list) and all(map(number().holds, v)),
    "numbers with commas between them",
    several(number()).read,
)
POSITIVE, STEPS = whole(1), whole(0)
RATE = number(0)


@dataclass(frozen=True)
class Recipe:
    """All settings of a training run. Each stands below with its default, what it may be, and what
    it does; `tinymaskrcnn train --set help` lists them.

    Raises:
        InputError: a setting may not have its value; names both.
    """

    model: str = setting("maskrcnn_tiny", NAME, "builder of the model")
    model_settings: Mapping[str, Any] = setting(
        {}, BY_NAME, "the builder's: --set model.NAME=VALUE"
    )
    shapes: Mapping[str, Any] = setting(
        {}, BY_NAME, "of ToyShapes, for a run on toy shapes: --set shapes.NAME=VALUE"
    )

    batch_size: int = setting(8, POSITIVE, "images per step")
    flip: float = setting(0.5, SHARE, "probability of swapping left and right")
    vertical_flip: float = setting(0.0, SHARE, "probability of swapping top and bottom")
    transpose: float = setting(0.0, SHARE, "probability of swapping rows and columns")
    scale_jitter: float = setting(
        0.0, number(0, 0.9), "0.2 resizes images by random factors from 0.8 to 1.25"
    )
    colour_jitter: float = setting(
        0.0, SHARE, "strength of random changes of brightness, contrast and saturation"
    )
    crop: float = setting(
        0.0, number(0, 0.9), "0.3 crops each side to a random share of it from 0.7 to 1"
    )
    copy_paste: float = setting(0.0, SHARE, "probability of pasting in objects of another image")
    crop_size: int = setting(
        0,
        whole(0, 2**16),
        "side in image pixels of the random square crops to train on, 0 for whole images",
    )
    crop_on_object: float = setting(
        0.8, SHARE, "probability that such a crop is placed on an object and not anywhere"
    )

    optimizer: str = setting("sgd", one_of("sgd", "muon"), "how gradients change the weights")
    steps: int = setting(1000, POSITIVE, "steps of training")
    lr: float = setting(0.02, RATE, "learning rate after the warm-up")
    momentum: float = setting(0.9, SHARE, "of the optimizer")
    weight_decay: float = setting(1e-4, RATE, "of the optimizer")
    decay_vectors: bool = setting(False, YES_OR_NO, "whether biases and norms decay too")
    warmup_steps: int = setting(50, STEPS, "steps in which the learning rate rises from 0 to lr")
    schedule: str = setting(
        "cosine", one_of("cosine", "step"), "how it falls: to 0, or to a tenth at each milestone"
    )
    milestones: tuple[float, ...] = setting(
        (0.7, 0.9), NUMBERS, "when the schedule 'step' does so, as shares of all steps"
    )
    clip_norm: float = setting(5.0, RATE, "limit of the norm of all gradients together, 0 for none")
    sync_norms: bool = setting(
        False, YES_OR_NO, "under MPI, whether batch norms use the images of all ranks"
    )
    ema: float = setting(
        0.99, SHARE, "decay of the average of the weights, which is evaluated and kept; 0 for none"
    )
    seed: int = setting(0, SEED, "of initial weights, data order, augmentation and sampling")
    time_budget: float = setting(
        0.0,
        number(0, MANY),
        "seconds of training, 0 for no limit; the schedule then follows the clock, and runs are "
        "not repeatable",
    )

    checkpoint_every: int = setting(200, STEPS, "steps between checkpoints, 0 for the end only")
    sample_every: int = setting(500, STEPS, "steps between sample predictions, 0 for the end only")
    evaluate_every: int = setting(0, STEPS, "steps between evaluations, 0 for the end only")
    eval_images: int = setting(0, STEPS, "validation images per evaluation, 0 for all")
    image_memory: float = setting(
        1.0,
        number(0, 2**20),
        "GiB for images that are kept in memory; the others are read again each time",
    )
    explain_pages: int = setting(
        8, whole(0, 1000), "how often to write the page of every stage of one image, 0 for never"
    )

    def __post_init__(self) -> None:
        for each in fields(self):
            check(each.name, each, getattr(self, each.name))
        object.__setattr__(self, "milestones", tuple(self.milestones))  # a list, as from JSON


SETTINGS = {each.name: each for each in fields(Recipe) if each.default is not MISSING}
DECIDED = {"num_classes": "the data decides it", "seed": "--set seed=N decides it"}
MODEL_SETTINGS = {
    f"model.{name}": each
    for name, each in keywords(ResNetConfig, TinyConfig).items()
    if name not in (*DECIDED, "bbox_reg_weights")  # a synonym
}

# Settings that decide what is written on the way, not what is learnt: a resumed run may change
# them.
REPORTING = (
    *("checkpoint_every", "sample_every", "evaluate_every", "eval_images", "explain_pages"),
    "image_memory",
)
RENAMED = {"moments": "explain_pages"}  # names of earlier versions, still read
# Settings that earlier versions did not have: their runs are those with the defaults.
ADDED = ("crop_size", "crop_on_object")

EXACT = {"paste": "exact"}  # better masks at a high IoU; the builder's default is torchvision's

RECIPES: dict[str, Recipe] = {
    "shapes": Recipe(
        model_settings=EXACT,
        shapes={"count": 1_000_000},  # no image comes twice
        batch_size=8,
        optimizer="muon",
        steps=2000,
        lr=0.05,
        weight_decay=1e-3,
        warmup_steps=100,
        ema=0.995,
    ),
    "small": Recipe(
        model_settings=EXACT,
        batch_size=8,
        optimizer="muon",
        steps=1200,
        lr=0.05,
        weight_decay=1e-3,
        warmup_steps=100,
        ema=0.995,
        scale_jitter=0.2,
        colour_jitter=0.2,
    ),
    "cells": Recipe(  # microscope images: crops, all orientations, an hour
        model_settings={**EXACT, "box_nms_thresh": 0.4, "box_batch_size_per_image": 128},  # crowds
        batch_size=4,
        optimizer="muon",
        steps=100_000,
        time_budget=3600,
        lr=0.05,
        weight_decay=1e-3,
        warmup_steps=100,
        ema=0.998,
        vertical_flip=0.5,
        transpose=0.5,
        scale_jitter=0.3,
        colour_jitter=0.3,
        crop_size=256,
        checkpoint_every=500,
        sample_every=2000,
        explain_pages=0,
    ),
}


def named(name: str) -> Recipe:
    """The recipe of this name. Raises InputError that lists the names."""
    if name not in RECIPES:
        raise InputError(f"no recipe {name!r}: expected one of {', '.join(RECIPES)}")
    return RECIPES[name]


def with_settings(recipe: Recipe, settings: Iterable[str]) -> Recipe:
    """The recipe with `name=value` strings applied, each value read as the kind of its setting.

    Args:
        recipe: is not changed.
        settings: such as "lr=0.01", "milestones=0.5,0.8", "model.min_size=160".

    Raises:
        InputError: names the setting, its value and what was expected.
    """
    changes: dict[str, Any] = {}
    nested = {"model": dict(recipe.model_settings), "shapes": dict(recipe.shapes)}
    for each in settings:
        name, equals, text = each.partition("=")
        name = RENAMED.get(name, name)
        part, dot, inner = name.partition(".")
        if not equals:
            raise InputError(f"--set {each}: expected name=value; train --set help lists them")
        if part == "model" and inner in DECIDED:
            raise InputError(f"--set {each}: {DECIDED[inner]}")
        if dot and part in nested:
            nested[part][inner] = literal(text)
        else:
            changes[name] = _parse(name, text)
    return replace(recipe, **changes, model_settings=nested["model"], shapes=nested["shapes"])


def listing(recipe: Recipe) -> list[str]:
    """One line for each setting of a recipe and of its model, as `--set` takes it: its value, what
    it does, and what it may be.
    """
    values = {
        f"model.{name}": value for name, value in (TINY | dict(recipe.model_settings)).items()
    }
    return [
        *described(SETTINGS, vars(recipe)),
        *("", "Settings of maskrcnn_tiny; the other models have torchvision's defaults."),
        *described(MODEL_SETTINGS, values),
    ]


def _parse(name: str, text: str) -> Any:
    if name in SETTINGS:
        return read(name, SETTINGS[name], text)
    close = similar(name, SETTINGS)
    if f"model.{name}" in MODEL_SETTINGS:
        close = f"model.{name}"
    hint = f"did you mean {close}?" if close else f"expected one of {', '.join(SETTINGS)}"
    raise InputError(f"--set {name}={text}: no such setting, {hint}")


def as_json(recipe: Recipe) -> dict[str, Any]:
    """The recipe as a dict that JSON can hold; `from_json` is its inverse."""
    return {each.name: _plain(getattr(recipe, each.name)) for each in fields(recipe)}


def from_json(settings: Mapping[str, Any]) -> Recipe:
    """The recipe of such a dict. Raises InputError where it has an unknown or missing setting."""
    names = {each.name for each in fields(Recipe)}
    settings = {RENAMED.get(name, name): value for name, value in settings.items()}
    if set(settings) != names:
        wrong = ", ".join(sorted(set(settings) ^ names))
        raise InputError(f"these are not the settings of this version of recipes: {wrong}")
    return Recipe(**settings)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, tuple | list) else value
