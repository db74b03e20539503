"""Exponential moving average of weights and norms' statistics (Polyak and Juditsky 1992).

Evaluation and the final weights use the average: it is the centre around which SGD's last steps
wander, and reaches it without smaller steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..errors import InputError
from ..gpu.array import assign
from ..nn import Module
from ..ops import basic, sgd


class MovingAverage:
    """average = decay * average + (1 - decay) * weights, after every step.

    Early on the decay is smaller, (1 + n) / (10 + n) after n updates, so that the random initial
    weights are forgotten.

    Args:
        model: its state_dict is averaged; the average starts as a copy of it.
        decay: 0..1; 0 keeps the average equal to the weights.
    """

    def __init__(self, model: Module, decay: float) -> None:
        self.model, self.decay, self.updates = model, decay, 0
        self.averages = _copies(model)

    def update(self) -> None:
        """Add the model's present weights to the average."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for name, array in self.model.arrays().items():
            ops = sgd.kernels(array)
            ops.moving_average(self.averages[name].reshape(-1), array.reshape(-1), 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the model the averaged weights in this context, then its own again, bit for bit."""
        own = _copies(self.model)
        self.model.load_state_dict(self.averages)
        try:
            yield
        finally:
            self.model.load_state_dict(own)

    def load(self, averages: Mapping[str, np.ndarray], updates: int) -> None:
        """Go on from saved averages. Raises InputError if they belong to another model."""
        shapes = {name: array.shape for name, array in averages.items()}
        if shapes != {name: array.shape for name, array in self.averages.items()}:
            raise InputError("the averaged weights belong to another model")
        self.updates = updates
        for name, array in averages.items():
            assign(self.averages[name], array)


def _copies(model: Module) -> dict[str, Any]:
    """A copy of every array of the model, on the device where it lives."""
    arrays = model.arrays().items()
    return {name: basic.kernels(a).copy(a) for name, a in arrays}
