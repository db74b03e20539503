"""Reverse-mode differentiation: `Function`, the graph it leaves behind, and the walk back through
it.

Each call of a Function makes one node that knows its inputs' nodes. `backward` visits the nodes in
reverse topological order, hands each the gradient of its output and adds what comes back to its
inputs. What a node saved is freed as soon as its own backward has run. Only first derivatives:
gradients are plain arrays, not Tensors.

Not here: the Tensor itself (tensor.py) and every derivative's rule (ops/*/op.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .backend import device_of, kernels
from .errors import InputError
from .gpu.array import GpuArray

_BASIC = "tinymaskrcnn.ops.basic"
_grad_enabled = True


def is_grad_enabled() -> bool:
    """Whether operations on tensors that require gradients record themselves for backward."""
    return _grad_enabled


@contextmanager
def no_grad() -> Iterator[None]:
    """Within this context nothing is recorded and nothing is saved for backward."""
    global _grad_enabled
    before, _grad_enabled = _grad_enabled, False
    try:
        yield
    finally:
        _grad_enabled = before


class Function:
    """One differentiable operation: settings in the constructor, arrays in `forward` and
    `backward`.

    Calling an instance on Tensors (or plain arrays, or None) runs `forward` and returns one Tensor,
    or a tuple of them. An instance is used once: it is the node of the graph.
    """

    needs: tuple[bool, ...] = ()
    _saved: tuple[Any, ...] | None = ()

    def forward(self, *arrays: Any) -> Any:
        """The value: one array, or a tuple of arrays."""
        raise NotImplementedError

    def backward(self, *grads: Any) -> Any:
        """From the gradient of each output, the gradient of each input (or None): one array, or a
        tuple.

        It may return the very array it was given, or a view of it, but never writes into it.
        """
        raise NotImplementedError

    def save(self, *arrays: Any) -> None:
        """Keep arrays for backward; a no-op where no input needs a gradient."""
        if any(self.needs):
            self._saved = arrays

    @property
    def saved(self) -> tuple[Any, ...]:
        """What forward saved. Raises RuntimeError once backward has freed it."""
        if self._saved is None:
            raise RuntimeError(
                f"{type(self).__name__}: backward was already run through this operation and "
                "its buffers are freed; run the forward pass again before a second backward"
            )
        return self._saved

    def __call__(self, *inputs: Any) -> Any:
        from .tensor import Tensor  # late: Tensor's operators are Functions

        self.needs = tuple(
            _grad_enabled and isinstance(x, Tensor) and x.requires_grad for x in inputs
        )
        _check_one_device(type(self).__name__, [x for x in inputs if isinstance(x, Tensor)])
        outputs = self.forward(*(x.data if isinstance(x, Tensor) else x for x in inputs))
        self.inputs = tuple(x if need else None for x, need in zip(inputs, self.needs, strict=True))
        recorded = any(self.needs)
        several = isinstance(outputs, tuple)
        self.output_count = len(outputs) if several else 1
        tensors = tuple(
            Tensor._from_node(array, self if recorded else None, i)
            for i, array in enumerate(outputs if several else (outputs,))
        )
        return tensors if several else tensors[0]

    def _pull_back(self, grads: list[np.ndarray | None]) -> tuple[np.ndarray | None, ...]:
        """Run `backward`, free what was saved, check the gradients' shapes."""
        if self._saved is None:
            _ = self.saved  # raises the clear error, also for operations that saved nothing
        results = self.backward(*grads)
        self._saved = None
        if not isinstance(results, tuple):
            results = (results,)
        for tensor, result in zip(self.inputs, results, strict=True):
            if tensor is not None and result is not None and result.shape != tensor.shape:
                raise RuntimeError(
                    f"{type(self).__name__}.backward returned a gradient of shape {result.shape} "
                    f"for an input of shape {tensor.shape}"
                )
        return results


def _check_one_device(operation: str, tensors: list[Any]) -> None:
    """Raise InputError unless all Tensors are on the host, or all on the device."""
    on_device = [isinstance(t.data, GpuArray) for t in tensors]
    if any(on_device) and not all(on_device):
        places = ", ".join(f"{t.shape} on {device_of(t.data)}" for t in tensors)
        raise InputError(
            f"{operation}: its operands are on different devices: {places}; move them with "
            'Tensor.to(device) or model.to("cuda")'
        )


def backward(root: Any, grad: np.ndarray) -> None:
    """Add d root / d leaf, times `grad`, to `.grad` of every leaf Tensor that requires it.

    Args:
        root: the Tensor to differentiate; root.node is None where it is itself a leaf.
        grad: array of root's shape and dtype.
    """
    pending: dict[tuple[int, int], _Sum] = {}
    _deliver(root, grad, pending)
    for node in _reverse_topological(root.node):
        sums = [pending.pop((id(node), i), None) for i in range(node.output_count)]
        grads = [None if s is None else s.value for s in sums]
        if all(g is None for g in grads):
            continue
        for tensor, result in zip(node.inputs, node._pull_back(grads), strict=True):
            if tensor is not None and result is not None:
                _deliver(tensor, result, pending)
        node.inputs = (None,) * len(node.inputs)  # lets go of activations that nothing else holds


class _Sum:
    """A gradient being gathered. The first arrival may be shared with others, so only our own
    second sum is added to in place.
    """

    __slots__ = ("owned", "value")

    def __init__(self, value: np.ndarray) -> None:
        self.value, self.owned = value, False

    def add(self, other: np.ndarray) -> None:
        run = kernels(_BASIC, self.value)
        if self.owned:
            run.accumulate(self.value, other)
        else:
            self.value, self.owned = run.add(self.value, other), True


def _deliver(tensor: Any, grad: np.ndarray, pending: dict[tuple[int, int], _Sum]) -> None:
    if tensor.node is None:
        tensor.accumulate_grad(grad)
        return
    key = (id(tensor.node), tensor.output_index)
    if key in pending:
        pending[key].add(grad)
    else:
        pending[key] = _Sum(grad)


def _reverse_topological(root: Function | None) -> list[Function]:
    """Every node that root depends on, each after all the nodes that use it. No recursion: graphs
    are thousands deep.
    """
    order: list[Function] = []
    seen: set[int] = set()
    stack: list[tuple[Function, bool]] = [(root, False)] if root is not None else []
    while stack:
        node, expanded = stack.pop()
        if expanded:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack.extend(
                (t.node, False) for t in node.inputs if t is not None and t.node is not None
            )
    return order[::-1]
