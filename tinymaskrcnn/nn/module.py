"""Module: a tree of parameters and buffers with torchvision's names.

A module finds its parts by looking at its own attributes, in the order in which they were set:
Parameters, the arrays that its class lists in `buffers` (statistics that are saved but not
trained), and child Modules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from sys import getrefcount
from typing import Any

import numpy as np

from ..backend import check_device, device_of
from ..errors import InputError
from ..gpu.array import GpuArray, assign, to_device, to_host
from ..ops.derive import Kept
from ..tensor import Tensor

_versions = count()  # of all parameters, so that no two states have the same number


class Parameter(Tensor):
    """A Tensor that an optimiser trains, and the home of what inference derives from its values.

    No change of the values goes unnoticed. Whoever asks for `data` may write into the array, so
    each time it is asked for counts as a change; and while somebody still holds the array or a view
    of it, nothing that is derived from it is kept.

    Attributes:
        version: a number that is another one after each change, possible or real.
    """

    __slots__ = ("_array", "_kept", "version")
    _array: Any
    _kept: tuple[int, Kept] | None
    version: int

    def __init__(self, data: Any) -> None:
        super().__init__(data, requires_grad=True)

    @property
    def data(self) -> np.ndarray:
        """The array. To ask for it counts as a change; see `constant` for reading."""
        array = self._array  # held from here on, so that meanwhile no other thread keeps anything
        self.changed()
        return array

    @data.setter
    def data(self, array: np.ndarray) -> None:
        self._array = array
        self.changed()

    def changed(self) -> None:
        """Say that the array holds other values, or will."""
        self.version = next(_versions)
        self._kept = None

    def constant(self) -> tuple[Any, Kept]:
        """The array, which must only be read, and the table of what is derived from its present
        values (ops/derive.py). The table lasts until the next change; where somebody else holds
        the array, only for the caller.
        """
        kept, version = self._kept, self.version
        if kept is None or kept[0] != version:
            kept = version, {}
            if not self._is_held():
                self._kept = kept
        return self._array, kept[1]

    def _is_held(self) -> bool:
        """Whether somebody else holds the array, or an array that lies in the same memory."""
        if self._references() > _ALONE._references():  # Pythons count their own ones differently
            return True
        array = self._array
        return array.shared if isinstance(array, GpuArray) else array.base is not None

    def _references(self) -> int:
        return getrefcount(self._array)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._array.shape

    @property
    def dtype(self) -> np.dtype:
        return self._array.dtype

    @property
    def device(self) -> str:
        """ "cpu" or "cuda"."""
        return device_of(self._array)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self._array, self.grad, self.requires_grad)


_ALONE = Parameter(np.zeros(1, np.float32))  # nobody else holds its array


def _restored(array: Any, grad: Any, requires_grad: bool) -> Parameter:
    """A Parameter from a pickle or a copy. The array is its own: one that lies in the pickle's
    buffer would count as held.
    """
    parameter = Parameter(np.require(array, requirements="O"))
    parameter.grad, parameter.requires_grad = grad, requires_grad
    return parameter


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
        """Every parameter and buffer by its dotted name: the arrays themselves, not copies. Of a
        model on the device, copies on the host.
        """
        parts = self._named_parts()
        return {n: to_host(p.data if isinstance(p, Parameter) else p) for n, p in parts}

    def arrays(self) -> dict[str, Any]:
        """As `state_dict`, but the arrays themselves wherever they are, and only to be read."""
        parts = self._named_parts()
        return {n: p._array if isinstance(p, Parameter) else p for n, p in parts}

    def _named_parts(self) -> Iterator[tuple[str, Any]]:
        """(dotted name, Parameter or buffer) of all below, in the state dict's order."""
        for prefix, module in self.named_modules():
            dot = f"{prefix}." if prefix else ""
            own = [(n, p) for n, p in vars(module).items() if isinstance(p, Parameter)]
            for name, part in [*own, *((n, getattr(module, n)) for n in module.buffers)]:
                yield dot + name, part

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

        given, own = canonical(state), dict(self._named_parts())
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
        for key, part in own.items():
            if key in given:
                assign(part.data if isinstance(part, Parameter) else part, given[key])
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
