"""Recipes: every setting of a training run in one frozen dataclass, the named ones, and `--set
name=value`.

A recipe and a data set decide the weights, bit for bit at a given number of threads (unless a time
budget ends the run).
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from difflib import get_close_matches
from math import inf
from numbers import Integral, Real
from typing import Any

from ..errors import InputError


def _default(setting: Field) -> Any:
    """What a setting is if it is not given; its type is that of the setting."""
    return setting.default if setting.default is not MISSING else {}


def _is_of(value: Any, kind: type) -> bool:
    """Whether a value can be that of a setting of this type."""
    if kind is tuple:
        return isinstance(value, tuple) and all(_is_of(part, float) for part in value)
    if kind is dict:
        return isinstance(value, Mapping) and all(isinstance(name, str) for name in value)
    if kind in (int, float):
        numbers = Integral if kind is int else Real
        if not isinstance(value, numbers) or isinstance(value, bool):
            return False
        return value == value and value not in (inf, -inf)  # isfinite fails on large whole numbers
    return isinstance(value, kind)


@dataclass(frozen=True)
class Recipe:
    """All settings of a training run.

    The model
        model: name of a builder in tinymaskrcnn.models. model_settings: its keyword settings;
            `--set model.NAME=VALUE`.
    The data
        shapes: keyword settings of ToyShapes, where toy shapes are what is learnt; `--set
            shapes.NAME=VALUE`.
        batch_size: pictures a step. flip, vertical_flip, transpose, scale_jitter, colour_jitter,
            crop, copy_paste: of Augmentation.
    The steps
        optimizer: "sgd" or "muon". steps, lr, momentum, weight_decay: of it. decay_vectors: whether
            biases and norms decay too.
        warmup_steps: over which lr grows linearly from 0. schedule: "cosine" (to 0) or "step" (a
            tenth at each milestone).
        milestones: for "step", as shares of all steps. clip_norm: largest norm of all gradients
            together, 0 for any.
        sync_norms: under MPI, whether batch norms take the statistics of all ranks' pictures, not
            of each rank's own.
        ema: decay of the moving average of the weights that evaluation and the final weights use, 0
            for none.
        seed: of initial weights, data order, augmentation and sampling.
        time_budget: seconds after which training is over; the schedule then follows the clock, and
            runs are not repeatable.
    What is written
        checkpoint_every, sample_every, evaluate_every: steps between them, 0 for only at the end.
        eval_images: how many of the validation pictures evaluations use, 0 for all.
        moments: how often the pages of every stage of one picture are written, 0 for never.
    """

    model: str = "maskrcnn_tiny"
    model_settings: Mapping[str, Any] = field(default_factory=dict)
    shapes: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 8
    flip: float = 0.5
    vertical_flip: float = 0.0
    transpose: float = 0.0
    scale_jitter: float = 0.0
    colour_jitter: float = 0.0
    crop: float = 0.0
    copy_paste: float = 0.0
    optimizer: str = "sgd"
    steps: int = 1000
    lr: float = 0.02
    momentum: float = 0.9
    weight_decay: float = 1e-4
    decay_vectors: bool = False
    warmup_steps: int = 50
    schedule: str = "cosine"
    milestones: tuple[float, ...] = (0.7, 0.9)
    clip_norm: float = 5.0
    sync_norms: bool = False
    ema: float = 0.99
    seed: int = 0
    time_budget: float = 0.0
    checkpoint_every: int = 200
    sample_every: int = 500
    evaluate_every: int = 0
    eval_images: int = 0
    moments: int = 8

    def __post_init__(self) -> None:
        for setting in fields(self):
            value, kind = getattr(self, setting.name), type(_default(setting))
            if not _is_of(value, kind):
                said = _DESCRIPTIONS[kind]
                raise InputError(f"recipe: {setting.name} is {value!r}, expected {said}")
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"recipe: {name} is {value!r}, expected {low:g} to {high:g}")
        for name, names in (("schedule", SCHEDULES), ("optimizer", OPTIMIZERS)):
            value = getattr(self, name)
            if value not in names:
                raise InputError(f"recipe: {name} is {value!r}, expected {' or '.join(names)}")


SCHEDULES = ("cosine", "step")
OPTIMIZERS = ("sgd", "muon")
_MANY = 1e18  # still a whole number of 64 bits
_LARGE = 3e38  # still a float32
_RANGES = (
    ("batch_size", 1, _MANY),
    ("flip", 0, 1),
    ("vertical_flip", 0, 1),
    ("transpose", 0, 1),
    ("scale_jitter", 0, 0.9),
    ("colour_jitter", 0, 1),
    ("crop", 0, 0.9),
    ("copy_paste", 0, 1),
    ("steps", 1, _MANY),
    ("lr", 0, _LARGE),
    ("momentum", 0, 1),
    ("weight_decay", 0, _LARGE),
    ("warmup_steps", 0, _MANY),
    ("clip_norm", 0, _LARGE),
    ("ema", 0, 1),
    ("seed", 0, 2**63),
    ("time_budget", 0, _MANY),
    ("checkpoint_every", 0, _MANY),
    ("sample_every", 0, _MANY),
    ("evaluate_every", 0, _MANY),
    ("eval_images", 0, _MANY),
    ("moments", 0, 1000),
)

# Settings that decide what is written along the way, not what is learnt: a resumed run may change
# them.
REPORTING = ("checkpoint_every", "sample_every", "evaluate_every", "eval_images", "moments")

RECIPES: dict[str, Recipe] = {
    "shapes": Recipe(
        shapes={"count": 1_000_000},  # no picture comes twice
        batch_size=8,
        optimizer="muon",
        steps=2000,
        lr=0.05,
        weight_decay=1e-3,
        warmup_steps=100,
        ema=0.995,
    ),
    "small": Recipe(
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
}


def named(name: str) -> Recipe:
    """The recipe of this name. Raises InputError that lists the names."""
    if name not in RECIPES:
        raise InputError(f"no recipe {name!r}: expected one of {', '.join(RECIPES)}")
    return RECIPES[name]


def with_settings(recipe: Recipe, settings: Iterable[str]) -> Recipe:
    """The recipe with `name=value` strings applied, each value read as the type of its setting.

    Args:
        settings: such as "lr=0.01", "milestones=0.5,0.8", "model.min_size=160".

    Raises:
        InputError: names the setting, its value and what was expected.
    """
    changes: dict[str, Any] = {}
    nested = {"model": dict(recipe.model_settings), "shapes": dict(recipe.shapes)}
    for setting in settings:
        name, equals, text = setting.partition("=")
        part, dot, inner = name.partition(".")
        if not equals:
            raise InputError(f"--set {setting}: expected name=value")
        if dot and part in nested:
            nested[part][inner] = _literal(text)
        else:
            changes[name] = _parse(name, text)
    return replace(recipe, **changes, model_settings=nested["model"], shapes=nested["shapes"])


def as_json(recipe: Recipe) -> dict[str, Any]:
    """The recipe as a dict that JSON can hold; `from_json` is its inverse."""
    return {f.name: _plain(getattr(recipe, f.name)) for f in fields(recipe)}


def from_json(settings: Mapping[str, Any]) -> Recipe:
    """The recipe of such a dict. Raises InputError where it has an unknown or missing setting."""
    names = {f.name for f in fields(Recipe)}
    if set(settings) != names:
        wrong = ", ".join(sorted(set(settings) ^ names))
        raise InputError(f"these are not the settings of this version of recipes: {wrong}")
    milestones = settings["milestones"]
    if isinstance(milestones, list):  # JSON has no tuples
        milestones = tuple(milestones)
    return Recipe(**{**settings, "milestones": milestones})


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, tuple | list) else value


def _parse(name: str, text: str) -> Any:
    defaults = {f.name: f.default for f in fields(Recipe) if f.default is not MISSING}
    if name not in defaults:
        close = get_close_matches(name, defaults, n=1)
        hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(defaults)}"
        raise InputError(f"--set {name}={text}: no such setting, {hint}")
    kind = type(defaults[name])
    try:
        return _READERS[kind](text)
    except (ValueError, KeyError):
        raise InputError(f"--set {name}={text}: expected {_DESCRIPTIONS[kind]}") from None


def _literal(text: str) -> Any:
    """A number, tuple, bool or None as Python writes it; anything else is a string."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _finite(text: str) -> float:
    value = float(text)
    if value - value != 0:
        raise ValueError
    return value


_READERS: dict[type, Any] = {
    int: int,
    float: _finite,
    str: str,
    bool: lambda text: {"true": True, "false": False}[text.lower()],
    tuple: lambda text: tuple(_finite(part) for part in text.split(",") if part.strip()),
}
_DESCRIPTIONS = {
    int: "a whole number",
    float: "a number",
    str: "a name",
    bool: "true or false",
    tuple: "numbers with commas between them",
    dict: "settings by name",
}
