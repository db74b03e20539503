"""The weights that training starts from: random ones, or those of a trained model, whose heads may
know other classes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from ..models.builders import build
from ..models.keywords import changed
from ..models.mask_rcnn import MaskRCNN
from ..models.pretrained import describe_weights, weights_path
from ..nn import Module
from ..weights import load_weights, read_metadata
from ..weights.names import canonical
from .recipes import Recipe

_CLASS_ROWS = {  # rows per class, of the arrays whose rows belong to classes
    "roi_heads.box_predictor.cls_score.": 1,
    "roi_heads.box_predictor.bbox_pred.": 4,
    "roi_heads.mask_predictor.mask_fcn_logits.": 1,
}
_SCORES = "roi_heads.box_predictor.cls_score.weight"
_SHOWN = 10  # names in the log

logger = logging.getLogger(__name__)


def initial_model(weights: str | None, recipe: Recipe, classes: Sequence[str]) -> MaskRCNN:
    """A model to train.

    Args:
        weights: None for the recipe's model with random weights; or a weight file or the name of a
            shipped model. The heads then keep what they know of classes with the same names, and
            are random for the others.
        recipe: names the model, its settings and the seed.
        classes: names in label order.

    Raises:
        InputError: the weights cannot be read, or do not fit.
    """
    own = {"builder": recipe.model, **recipe.model_settings}
    ours = {"num_classes": len(classes) + 1, "seed": recipe.seed}
    if weights is None:
        return build({**own, **ours})
    path = weights_path(weights)
    state = load_weights(path)
    config, known = describe_weights(path, state)
    changes = own if config["builder"] == recipe.model else {}
    model = build(changed(config, changes | ours))
    named = known if "classes" in read_metadata(path) else None
    logger.info("%s: %s", path, load_for_fine_tuning(model, state, str(path), classes, named))
    return model


def config_of(weights: str) -> dict[str, Any]:
    """The config of a trained model. Raises InputError if it cannot be read."""
    path = weights_path(weights)
    return describe_weights(path, load_weights(path))[0]


def load_for_fine_tuning(
    model: Module,
    state: Mapping[str, np.ndarray],
    name: str,
    classes: Sequence[str],
    known: Sequence[str] | None = None,
) -> str:
    """Load weights of a model that may know other classes.

    In the last layers of the box head and the mask head, each class that both know keeps its own
    rows, wherever they stand, and a new class keeps its fresh ones. If the two share no class, the
    background's rows stay fresh too.

    Args:
        model: with fresh weights, for these `classes`.
        state: arrays by name.
        name: the weights' name in messages.
        classes: of label 1, 2, ...
        known: the classes of the weights; None if they are not named. Then equally many classes are
            assumed to be the same ones.

    Returns:
        One line on the classes: which were kept, moved or made anew.

    Raises:
        InputError: the weights do not fit in other ways.
    """
    own, given = model.state_dict(), dict(canonical(state))
    heads = {key: n for key in own for prefix, n in _CLASS_ROWS.items() if key.startswith(prefix)}
    scores = np.atleast_1d(given.get(_SCORES, 0))
    count = len(scores) - 1 if known is None else len(known)
    sources = _sources(classes, known, count)
    try:
        for key in (key for key in heads if key in given):
            given[key] = _rearranged(key, given[key], own[key], sources, heads[key], count)
        model.load_state_dict(given)
    except InputError as problem:
        raise InputError(f"{name}: {problem}") from problem
    return _what_became(classes, sources, known)


def _sources(classes: Sequence[str], known: Sequence[str] | None, count: int) -> list[int | None]:
    """The label that the background and each class have in the weights; None for a new class."""
    if known is None:  # equally many classes are assumed to be the same
        known = classes if len(classes) == count else []
    places = {name: label for label, name in enumerate(known, start=1)}
    found = [places.get(name) for name in classes]
    return [0 if any(found) else None, *found]


def _rearranged(
    key: str,
    given: np.ndarray,
    own: np.ndarray,
    sources: Sequence[int | None],
    rows: int,
    count: int,
) -> np.ndarray:
    """An array with its rows taken as `sources` says; rows of new classes come from `own`."""
    expected = (rows * (count + 1), *own.shape[1:])
    if given.shape != expected:
        raise InputError(f"{key} is {given.shape}, expected {expected} for {count} classes")
    result = own.copy().reshape(len(sources), rows, *own.shape[1:])
    blocks = given.reshape(count + 1, rows, *own.shape[1:])
    for label, source in enumerate(sources):
        if source is not None:
            result[label] = blocks[source]
    return result.reshape(own.shape)


def _what_became(
    classes: Sequence[str], sources: Sequence[int | None], known: Sequence[str] | None
) -> str:
    """One line on the class heads."""
    named = dict(zip(classes, sources[1:], strict=True))
    if known is None and any(sources[1:]):
        return "it names no classes, so its class heads are kept as they are, label by label"
    kept = [name for label, name in enumerate(classes, start=1) if named[name] == label]
    anew = [name for name in classes if named[name] is None]
    moved = [name for name in classes if name not in kept and name not in anew]
    parts = (("kept", kept), ("moved by name", moved), ("made anew", anew))
    return "class heads: " + "; ".join(f"{how} {_some(names)}" for how, names in parts if names)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
