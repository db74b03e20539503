"""Any sequence of (image, target) as a data set whose images, targets and classes are checked and
have names.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InputError
from ..models.inputs import Target, check_image, check_target


class NamedDataset:
    """Any sequence of (image, target), checked, with the `classes` and `describe` that a data set
    has. Its own are used if it has them.

    Args:
        samples: has len() and [i].
        class_count: how many classes to name if it names none.
    """

    def __init__(self, samples: Any, class_count: int) -> None:
        self.samples = samples
        numbers = [str(k) for k in range(1, class_count + 1)]
        self.classes: list[str] = list(getattr(samples, "classes", numbers))

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[np.ndarray, Target]:
        """The image and its target, checked here because later nobody knows the image's name.

        Raises:
            InputError: names the image, and what is wrong with it or its target.
        """
        image, target = self.samples[index]
        try:
            image = check_image(image, index, len(image))
            target = check_target(target, index, image.shape[1:])
            self._check_labels(target)
        except InputError as problem:
            raise InputError(f"{self.describe(index)}: {problem}") from problem
        return image, target

    def describe(self, index: int) -> str:
        """The name of item `index` in messages."""
        own = getattr(self.samples, "describe", None)
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
