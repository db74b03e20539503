"""Stochastic gradient descent with momentum and weight decay; Muon, whose steps are orthogonal; and
the global norm of the gradients.

Not here: the schedule of the learning rate (training/schedule.py) and the moving average of the
weights (training/ema.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from .backend import device_of
from .errors import InputError
from .gpu.array import assign, to_host, zeros_like
from .nn import Parameter
from .ops import orthogonalize, sgd


@dataclass
class ParameterGroup:
    """Parameters with the same weight decay, and a velocity for each."""

    parameters: list[Parameter]
    weight_decay: float
    velocities: list[np.ndarray]


class SGD:
    """SGD with momentum (Sutskever et al. 2013, in torch's form).

    d = grad + weight_decay * p; velocity = momentum * velocity + d; p -= lr * velocity.

    Args:
        parameters: Parameters, or dicts {"params": Parameters, "weight_decay": float} that give
            some of them a weight decay of their own. Those with requires_grad False are left out.
        lr: learning rate; `optimizer.lr` may be set before each step.
        momentum: share of the velocity kept from step to step, 0..1.
        weight_decay: for the parameters without one of their own.

    Raises:
        InputError: there is no parameter, or a number is out of its range.
    """

    def __init__(
        self,
        parameters: Iterable[Parameter] | Iterable[dict[str, Any]],
        lr: float,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        _require_range("lr", lr, 0.0, float("inf"))
        _require_range("momentum", momentum, 0.0, 1.0)
        self.lr, self.momentum = lr, momentum
        self.groups = _groups(list(parameters), weight_decay)

    def parameters(self) -> list[Parameter]:
        """All trained parameters, in a fixed order."""
        return [parameter for group in self.groups for parameter in group.parameters]

    def zero_grad(self) -> None:
        """Forget every gradient."""
        for parameter in self.parameters():
            parameter.grad = None

    def step(self, grad_scale: float = 1.0) -> None:
        """Update every parameter that has a gradient, and call its `changed`.

        Args:
            grad_scale: factor for every gradient; this clips without a pass of its own.
        """
        for group in self.groups:
            for parameter, velocity in zip(group.parameters, group.velocities, strict=True):
                if parameter.grad is not None:
                    self._change(parameter, velocity, group.weight_decay, grad_scale)
                    parameter.changed()

    def state_dict(self) -> dict[str, np.ndarray]:
        """The velocities by number: the arrays themselves, or copies of those on a device. Beside
        `lr`, which the caller sets, this is the whole state.
        """
        return {f"velocity.{i}": to_host(v) for i, v in enumerate(self._velocities())}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Copy the velocities of a `state_dict`, bit for bit.

        Raises:
            InputError: they belong to other parameters.
        """
        own = {f"velocity.{i}": v for i, v in enumerate(self._velocities())}
        shapes = {name: array.shape for name, array in own.items()}
        if shapes != {name: array.shape for name, array in state.items()}:
            raise InputError("the optimiser's state does not fit: it belongs to other parameters")
        for name, array in own.items():
            assign(array, state[name])

    def _change(
        self, parameter: Parameter, velocity: np.ndarray, weight_decay: float, grad_scale: float
    ) -> None:
        """Update one parameter, which has a gradient."""
        assert parameter.grad is not None
        _require_one_place(parameter, velocity)
        sgd.kernels(parameter.data).sgd_step(
            parameter.data.reshape(-1),
            parameter.grad.reshape(-1),
            velocity.reshape(-1),
            self.lr,
            self.momentum,
            weight_decay,
            grad_scale,
        )

    def _velocities(self) -> list[np.ndarray]:
        return [velocity for group in self.groups for velocity in group.velocities]


class Muon(SGD):
    """SGD with momentum whose steps are orthogonal matrices (Muon: Jordan et al. 2024).

    A few directions dominate the velocity of a weight: those of its largest singular values. Muon
    makes all singular values of a step about equal, so that the model learns rare directions as
    fast. It reads a weight as a matrix (M, N), its first axis by all others, such as output
    channels by taps. The singular values of a step are about sqrt(M / N), which changes the output
    of a layer by the same amount whatever its width (Bernstein and Newhouse 2024).

    velocity = momentum * velocity + grad; d = grad + momentum * velocity (Nesterov's look-ahead);
    p -= lr * (sqrt(M / N) * orthogonalize(d) + weight_decay * p).

    The length of a step does not depend on the scale of the gradient, unless its norm is far below
    1e-7. Vectors (biases, norms) are updated as in SGD, with the same lr. Arguments as for SGD.
    """

    def step(self, grad_scale: float = 1.0) -> None:
        """As SGD's. Makes all matrices orthogonal together, which keeps every thread busy."""
        turns: list[tuple[Parameter, np.ndarray, float]] = []
        for group in self.groups:
            for parameter, velocity in zip(group.parameters, group.velocities, strict=True):
                if parameter.grad is None:
                    continue
                if parameter.ndim < 2:
                    self._change(parameter, velocity, group.weight_decay, grad_scale)
                else:
                    ahead = self._look_ahead(parameter, velocity, grad_scale)
                    turns.append((parameter, ahead, group.weight_decay))
                parameter.changed()
        for dtype in {parameter.dtype for parameter, _, _ in turns}:
            self._turn([turn for turn in turns if turn[0].dtype == dtype])

    def _look_ahead(
        self, parameter: Parameter, velocity: np.ndarray, grad_scale: float
    ) -> np.ndarray:
        """The velocity of the next step if the gradient stayed, as a matrix (M, N)."""
        assert parameter.grad is not None
        _require_one_place(parameter, velocity)
        ahead = sgd.kernels(parameter.data).look_ahead(
            parameter.grad.reshape(-1), velocity.reshape(-1), self.momentum, grad_scale
        )
        return ahead.reshape(len(parameter.data), -1)

    def _turn(self, turns: list[tuple[Parameter, np.ndarray, float]]) -> None:
        """Make each direction orthogonal, and move its parameter along it."""
        matrices = [matrix for _, matrix, _ in turns]
        directions = orthogonalize.kernels(matrices[0]).orthogonalize(matrices)
        for (parameter, matrix, weight_decay), direction in zip(turns, directions, strict=True):
            sgd.kernels(matrix).descend(
                parameter.data.reshape(-1),
                direction.reshape(-1),
                self.lr,
                weight_decay,
                sqrt(matrix.shape[0] / max(matrix.shape[1], 1)),
            )


def grad_norm(parameters: Iterable[Parameter]) -> float:
    """L2 norm of all gradients together; 0 if there are none, inf or nan if a value is."""
    grads = [p.grad.reshape(-1) for p in parameters if p.grad is not None]
    return sqrt(sum(sgd.kernels(grad).sum_of_squares(grad) for grad in grads))


def clip_scale(norm: float, max_norm: float) -> float:
    """The factor that brings a gradient of this norm down to at most max_norm; 1 if max_norm is 0
    (Pascanu et al. 2013).
    """
    return 1.0 if max_norm == 0 or norm <= max_norm else max_norm / norm


def without_decay_of_vectors(
    parameters: Iterable[Parameter],
) -> list[dict[str, Any]]:
    """Groups for SGD in which vectors (biases and the parameters of norms) get no weight decay."""
    both = list(parameters)
    return [
        {"params": [p for p in both if p.ndim > 1]},
        {"params": [p for p in both if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _groups(given: list[Any], weight_decay: float) -> list[ParameterGroup]:
    dicts: list[dict[str, Any]] = [g if isinstance(g, dict) else {"params": [g]} for g in given]
    by_decay: dict[float, list[Parameter]] = {}
    for group in dicts:
        decay = group.get("weight_decay", weight_decay)
        _require_range("weight_decay", decay, 0.0, float("inf"))
        by_decay.setdefault(decay, []).extend(p for p in group["params"] if p.requires_grad)
    if not any(by_decay.values()):
        raise InputError("SGD: no parameter that requires a gradient was given")
    return [_group(parameters, decay) for decay, parameters in by_decay.items()]


def _group(parameters: list[Parameter], weight_decay: float) -> ParameterGroup:
    for parameter in parameters:
        if parameter.device == "cpu":  # so that the flat view is no copy
            parameter.data = np.ascontiguousarray(parameter.data)
    velocities = [zeros_like(parameter.data) for parameter in parameters]
    return ParameterGroup(parameters, weight_decay, velocities)


def _require_one_place(parameter: Parameter, velocity: Any) -> None:
    if device_of(velocity) != parameter.device:
        raise InputError(
            f"SGD: a parameter {parameter.shape} is on {parameter.device}, its velocity on "
            f"{device_of(velocity)}: make the optimiser after model.to(...)"
        )


def _require_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InputError(f"SGD: {name} is {value}, expected {low:g} to {high:g}")
