"""Compare a backward pass with central differences in float64."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import add

import numpy as np

from .autograd import no_grad
from .tensor import Tensor


def gradcheck(
    function: Callable[..., Tensor],
    *inputs: np.ndarray,
    tolerance: float = 1e-6,
    step: float = 1e-6,
    seed: int = 0,
) -> None:
    """Check d(sum of weights * function(inputs)) / d(inputs) for random weights, element by
    element.

    Args:
        function: takes one Tensor per input, returns a Tensor (or a tuple of them) of any shape.
        inputs: float64 arrays, away from kinks (a ReLU at 0, tied maxima), where differences are
            wrong.
        tolerance: largest allowed |analytic - numeric| / max(1, |numeric|).
        step: half the distance between the two evaluations of a difference.
        seed: of the random weights.

    Raises:
        AssertionError: a derivative is wrong; names the worst element and both its derivatives.
        TypeError: an input is not float64.
    """
    for i, array in enumerate(inputs):
        if array.dtype != np.float64:
            raise TypeError(f"gradcheck needs float64 inputs; input {i} is {array.dtype}")
    rng = np.random.default_rng(seed)
    tensors = [Tensor(array.copy(), requires_grad=True) for array in inputs]
    outputs = _as_tuple(function(*tensors))
    weights = [rng.standard_normal(output.shape) for output in outputs]
    terms = [(output * weight).sum() for output, weight in zip(outputs, weights, strict=True)]
    reduce(add, terms).backward()

    def value() -> float:
        with no_grad():
            results = _as_tuple(function(*(Tensor(t.data) for t in tensors)))
        return sum(float((r.data * w).sum()) for r, w in zip(results, weights, strict=True))

    for i, tensor in enumerate(tensors):
        numeric = _differences(tensor.data, value, step)
        analytic = np.zeros_like(numeric) if tensor.grad is None else tensor.grad
        error = np.abs(analytic - numeric) / np.maximum(1.0, np.abs(numeric))
        if error.size and not error.max() <= tolerance:
            worst = np.unravel_index(
                np.nanargmax(np.where(np.isnan(error), np.inf, error)), error.shape
            )
            raise AssertionError(
                f"input {i}, element {tuple(map(int, worst))}: backward gives "
                f"{analytic[worst]:.9g}, central differences {numeric[worst]:.9g}, "
                f"relative error {error[worst]:.2e} above {tolerance:.0e}"
            )


def _as_tuple(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


def _differences(array: np.ndarray, value: Callable[[], float], step: float) -> np.ndarray:
    """(value(array + step e_i) - value(array - step e_i)) / (2 step) for every element i. Restores
    the array.
    """
    numeric = np.empty_like(array)
    for index in np.ndindex(array.shape):
        before = array[index]
        array[index] = before + step
        above = value()
        array[index] = before - step
        below = value()
        array[index] = before
        numeric[index] = (above - below) / (2 * step)
    return numeric
