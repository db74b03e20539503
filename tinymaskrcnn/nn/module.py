"""Module: a tree of parameters and buffers with torchvision's names.

A module finds its parts by looking at its own attributes, in the order in which they were set:
Parameters, the arrays that its class lists in `buffers` (statistics that are saved but not
trained), and child Modules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..backend import check_device
from ..errors import InputError
from ..gpu.array import assign, to_device, to_host
from ..tensor import Tensor


class Parameter(Tensor):
    """A Tensor that an optimiser trains.

    Attributes:
        version: counts the changes of `data`. Whoever changes the array calls `changed()`, so that
            what was derived from it (a norm folded into a convolution) is made anew.
    """

    __slots__ = ("version",)

    def __init__(self, data: np.ndarray) -> None:
        super().__init__(data, requires_grad=True)
        self.version = 0

    def changed(self) -> None:
        """Say that `data` now holds other values."""
        self.version += 1


class Module:
    """Base of all layers and models: its parts are its attributes; subclasses define `forward`."""

    buffers: tuple[str, ...] = ()
    buffers_move = True  # with the parameters to a device
    training: bool = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) of the direct children."""
        return ((name, part) for name, part in vars(self).items() if isinstance(part, Module))

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """(dotted name, module) of this module and all below it, parents first."""
        yield prefix, self
        for name, child in self.named_children():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(dotted name, parameter) of all below."""
        for prefix, module in self.named_modules():
            for name, part in vars(module).items():
                if isinstance(part, Parameter):
                    yield f"{prefix}.{name}" if prefix else name, part

    def parameters(self) -> Iterator[Parameter]:
        """All parameters below, in the order of `named_parameters`."""
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, np.ndarray]]:
        """(dotted name, array) of what is saved but not trained."""
        for prefix, module in self.named_modules():
            for name in module.buffers:
                yield f"{prefix}.{name}" if prefix else name, getattr(module, name)

    def state_dict(self) -> dict[str, np.ndarray]:
        """Every parameter and buffer by its dotted name: the arrays themselves, not copies; of a
        model on the device copies on the host.
        """
        return {name: to_host(array) for name, array in self.arrays().items()}

    def arrays(self) -> dict[str, Any]:
        """As `state_dict`, but the arrays themselves wherever they are."""
        state: dict[str, Any] = {}
        for prefix, module in self.named_modules():
            dot = f"{prefix}." if prefix else ""
            state |= {dot + n: p.data for n, p in vars(module).items() if isinstance(p, Parameter)}
            state |= {dot + n: getattr(module, n) for n in module.buffers}
        return state

    def load_state_dict(self, state: Mapping[str, np.ndarray], strict: bool = True) -> None:
        """Copy values into the parameters and buffers of the same names.

        Both of torchvision's spellings of the keys are understood, and `num_batches_tracked` is
        ignored. Nothing is changed unless everything fits.

        Args:
            state: arrays by dotted name; converted to each parameter's dtype.
            strict: whether missing and unexpected names are errors; wrong shapes always are.

        Raises:
            InputError: names what is missing, unexpected, or of another shape.
        """
        from ..weights.names import canonical  # late: loads safetensors

        given, own = canonical(state), self.arrays()
        problems = []
        if strict:
            problems += _listing("missing", [k for k in own if k not in given])
            problems += _listing("unexpected", [k for k in given if k not in own])
        problems += _listing(
            "of another shape",
            [
                f"{k} {np.shape(given[k])}, expected {own[k].shape}"
                for k in own
                if k in given and np.shape(given[k]) != own[k].shape
            ],
        )
        if problems:
            raise InputError(f"the weights do not fit this model: {'; '.join(problems)}")
        for key, array in own.items():
            if key in given:
                assign(array, given[key])
        for module in self.modules():
            module.parameters_changed()

    def modules(self) -> Iterator[Module]:
        """This module and all below it."""
        return (module for _, module in self.named_modules())

    def parameters_changed(self) -> None:
        """Mark this module's own parameters and buffers as changed."""
        for part in vars(self).values():
            if isinstance(part, Parameter):
                part.changed()

    def to(self, device: str) -> Module:
        """Move all parameters and buffers to a device, and forget the gradients. An optimiser is
        made after that.

        Args:
            device: "cpu" or "cuda".

        Raises:
            InputError: this machine has no such device.
        """
        move: Any = to_device if check_device(device) == "cuda" else to_host
        for module in self.modules():
            for part in vars(module).values():
                if isinstance(part, Parameter):
                    part.data, part.grad = move(part.data), None
            for name in module.buffers if module.buffers_move else ():
                setattr(module, name, move(getattr(module, name)))
            module.parameters_changed()
        return self

    @property
    def device(self) -> str:
        """Where the parameters are: "cpu" or "cuda"."""
        return next((p.device for p in self.parameters()), "cpu")

    def train(self, mode: bool = True) -> Module:
        """Set training mode here and below: losses from targets, norms that learn."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Module:
        """Leave training mode here and below."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Forget every parameter's gradient."""
        for parameter in self.parameters():
            parameter.grad = None


class ModuleList(Module):
    """Modules by number, named 0, 1, 2 ... in the state dict."""

    def __init__(self, *modules: Module) -> None:
        for i, module in enumerate(modules):
            setattr(self, str(i), module)

    def __iter__(self) -> Iterator[Module]:
        return (module for _, module in self.named_children())

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, i: int) -> Module:
        return list(self)[i]


class Sequential(ModuleList):
    """Modules applied one after the other."""

    def forward(self, x: Any) -> Any:
        for module in self:
            x = module(x)
        return x


@contextmanager
def watch_layers(look: Callable[[Module, Any], None]) -> Iterator[None]:
    """Within this context `look` sees every module and its output, inner modules before outer ones.

    >>> seen = {}
    >>> names = {id(module): name for name, module in model.named_modules()}
    >>> with watch_layers(lambda module, output: seen.update({names[id(module)]: output})):
    ...     model.detect([image])
    """
    original = Module.__call__

    def watched(module: Module, *args: Any, **kwargs: Any) -> Any:
        output = original(module, *args, **kwargs)
        look(module, output)
        return output

    Module.__call__ = watched  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Module.__call__ = original  # type: ignore[method-assign]


def _listing(what: str, names: list[str], shown: int = 5) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return [f"{len(names)} {what}: {', '.join(names[:shown])}{more}"]
