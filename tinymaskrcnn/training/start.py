"""What training starts from: weights whose heads may be for other classes, a data set that fits the
model, and an optimiser.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from ..models.inputs import Target, check_image, check_target
from ..nn import Module
from ..optim import SGD, Muon, without_decay_of_vectors
from .recipes import Recipe

_CLASS_ROWS = {  # rows per class, of the arrays whose rows belong to classes
    "roi_heads.box_predictor.cls_score.": 1,
    "roi_heads.box_predictor.bbox_pred.": 4,
    "roi_heads.mask_predictor.mask_fcn_logits.": 1,
}
_SCORES = "roi_heads.box_predictor.cls_score.weight"
_SHOWN = 10  # names in the log


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
    from ..weights.names import canonical

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


class NamedDataset:
    """Any sequence of (image, target), checked, with the `classes` and `describe` that a data set
    has. Its own are used if it has them.

    Args:
        pictures: has len() and [i].
        class_count: how many classes to name if it names none.
    """

    def __init__(self, pictures: Any, class_count: int) -> None:
        self.pictures = pictures
        numbers = [str(k) for k in range(1, class_count + 1)]
        self.classes: list[str] = list(getattr(pictures, "classes", numbers))

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[np.ndarray, Target]:
        """The image and its target, checked here because later nobody knows the image's name.

        Raises:
            InputError: names the image, and what is wrong with it or its target.
        """
        image, target = self.pictures[index]
        try:
            image = check_image(image, index, len(image))
            target = check_target(target, index, image.shape[1:])
            self._check_labels(target)
        except InputError as problem:
            raise InputError(f"{self.describe(index)}: {problem}") from problem
        return image, target

    def describe(self, index: int) -> str:
        """The name of item `index` in messages."""
        own = getattr(self.pictures, "describe", None)
        return own(index) if own else f"sample {index}"

    def _check_labels(self, target: Target) -> None:
        highest = target["labels"].max(initial=0)
        if highest > len(self.classes):
            raise InputError(f"label {highest}, expected 1 to {len(self.classes)}")


def named_datasets(
    dataset: Any, val_dataset: Any | None, model: Any
) -> tuple[NamedDataset, NamedDataset | None]:
    """Both data sets, after checking that there is something to train on and that labels mean the
    same everywhere.

    Raises:
        InputError: names what does not fit.
    """
    count = int(model.config["num_classes"]) - 1  # without the background
    train = NamedDataset(dataset, count)
    val = NamedDataset(val_dataset, count) if val_dataset is not None else None
    if len(train) == 0:
        raise InputError("the training set holds no images")
    if len(train.classes) != count:
        raise InputError(
            f"the training set has {len(train.classes)} classes "
            f"({', '.join(train.classes[:5])}), the model has {count}"
        )
    if val is not None and val.classes != train.classes:
        raise InputError(
            f"the validation set's classes {val.classes} are not the training set's {train.classes}"
        )
    return train, val


def make_optimizer(model: Module, recipe: Recipe) -> SGD:
    """The optimiser that the recipe asks for, over the model's parameters."""
    parameters: Any = list(model.parameters())
    if not recipe.decay_vectors:
        parameters = without_decay_of_vectors(parameters)
    kind = {"sgd": SGD, "muon": Muon}[recipe.optimizer]
    return kind(parameters, recipe.lr, recipe.momentum, recipe.weight_decay)
