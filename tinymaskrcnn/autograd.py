"""Reverse-mode differentiation: `Function`, the graph it leaves behind, and the walk back through
it.

Each call of a Function makes one node that knows its inputs' nodes. `backward` visits the nodes in
reverse topological order, hands each the gradient of its output and adds what comes back to its
inputs. What a node saved is freed as soon as its own backward has run. Only first derivatives:
gradients are plain arrays, not Tensors.

Not here: the Tensor itself (tensor.py) and every derivative's rule (ops/*/op.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from .backend import device_of
from .errors import InputError
from .gpu.array import GpuArray
from .ops.basic import kernels

Observer = Callable[["Function", list[Any]], None]
_grad_enabled = ContextVar("grad_enabled", default=True)  # each thread has its own
_observer: ContextVar[Observer | None] = ContextVar("observer", default=None)


def is_grad_enabled() -> bool:
    """Whether operations on tensors that require gradients record themselves for backward."""
    return _grad_enabled.get()


@contextmanager
def no_grad() -> Iterator[None]:
    """Within this context nothing is recorded and nothing is saved for backward; other threads go
    on as they were.
    """
    before = _grad_enabled.set(False)
    try:
        yield
    finally:
        _grad_enabled.reset(before)


@contextmanager
def observe(observer: Observer | None) -> Iterator[None]:
    """Within this context, show an observer the gradients of each backward pass of this thread.

    Args:
        observer: called with each Function and the gradients of its outputs (None where there is
            none), as soon as these are complete. Of nested observers only the innermost is called;
            None silences an outer one.
    """
    before = _observer.set(observer)
    try:
        yield
    finally:
        _observer.reset(before)


class Function:
    """One differentiable operation: settings in the constructor, arrays in `forward` and
    `backward`.

    Calling an instance on Tensors (or plain arrays, or None) runs `forward` and returns one Tensor,
    or a tuple of them. An instance is used once: it is the node of the graph.

    Attributes:
        needs: of each input whether its gradient is wanted.
        fresh: of each input whether `backward` makes its gradient anew and keeps no hold of it, so
            that it may be added to; () for none.
        totals: in `backward`, of each input what other operations have sent to it so far, where
            that may be added to, else None. A backward that adds to it returns the total itself.
    """

    needs: tuple[bool, ...] = ()
    fresh: tuple[bool, ...] = ()
    totals: tuple[np.ndarray | None, ...] = ()
    _saved: tuple[Any, ...] | None = ()

    def forward(self, *arrays: Any) -> Any:
        """The value: one array, or a tuple of arrays."""
        raise NotImplementedError

    def backward(self, *grads: Any) -> Any:
        """From the gradient of each output, the gradient of each input (or None): one array, or a
        tuple.

        It may return the very array it was given, or a view of it, but never writes into it. What
        it may write into are `totals`.
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

        recording = _grad_enabled.get()
        self.needs = tuple(recording and isinstance(x, Tensor) and x.requires_grad for x in inputs)
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


def backward(root: Any, grad: np.ndarray, on_leaf: Callable[[Any], None] | None = None) -> None:
    """Add d root / d leaf, times `grad`, to `.grad` of every leaf Tensor that requires it.

    Args:
        root: the Tensor to differentiate; root.node is None where it is itself a leaf.
        grad: array of root's shape and dtype.
        on_leaf: called with each leaf once nothing more will be added to its `.grad`.
    """
    pending: dict[tuple[int, int], _Sum] = {}
    _deliver(root, grad, False, pending)
    order = _reverse_topological(root.node)
    leaves = _leaves_by_last_use(order) if on_leaf else {}
    for node in order:
        _visit(node, pending)
        for leaf in leaves.get(id(node), ()):
            on_leaf(leaf)  # type: ignore[misc]


def _visit(node: Function, pending: dict[tuple[int, int], _Sum]) -> None:
    """Pull one node's gradients back to its inputs."""
    sums = [pending.pop((id(node), i), None) for i in range(node.output_count)]
    grads = [None if s is None else s.value for s in sums]
    if all(g is None for g in grads):
        return
    if observer := _observer.get():
        observer(node, grads)
    dtype = next(g.dtype for g in grads if g is not None)
    node.totals = tuple(_total(tensor, dtype, pending) for tensor in node.inputs)
    fresh = node.fresh or (False,) * len(node.inputs)
    results = zip(node.inputs, node._pull_back(grads), fresh, node.totals, strict=True)
    for tensor, result, new, total in results:
        if tensor is not None and result is not None and result is not total:
            _deliver(tensor, result, new, pending)
    node.totals = ()
    node.inputs = (None,) * len(node.inputs)  # lets go of activations that nothing else holds


def _leaves_by_last_use(order: list[Function]) -> dict[int, list[Any]]:
    """By the id of each node those leaves whose last use in backward it is."""
    last = {id(t): (t, node) for node in order for t in node.inputs if t is not None and not t.node}
    leaves: dict[int, list[Any]] = {}
    for leaf, node in last.values():
        leaves.setdefault(id(node), []).append(leaf)
    return leaves


class _Sum:
    """A gradient being gathered. The first arrival may be shared with others; if so, a second one
    is not added to it but to a sum of our own.
    """

    __slots__ = ("owned", "value")

    def __init__(self, value: np.ndarray, owned: bool) -> None:
        self.value, self.owned = value, owned

    def add(self, other: np.ndarray) -> None:
        run = kernels(self.value)
        if self.owned:
            self.value = run.accumulate(self.value, other)
        else:
            self.value, self.owned = _as_array(run.add(self.value, other)), True


def _total(tensor: Any, dtype: np.dtype, pending: dict[tuple[int, int], _Sum]) -> np.ndarray | None:
    """What has come for a Tensor inside the graph, where such numbers may be added to it."""
    if tensor is None or tensor.node is None:
        return None
    gathered = pending.get((id(tensor.node), tensor.output_index))
    if gathered is None or not gathered.owned or gathered.value.dtype != dtype:
        return None
    return gathered.value


def _deliver(
    tensor: Any, grad: np.ndarray, fresh: bool, pending: dict[tuple[int, int], _Sum]
) -> None:
    grad = _as_array(grad)
    if tensor.node is None:
        tensor.accumulate_grad(grad, fresh)
        return
    key = (id(tensor.node), tensor.output_index)
    if key in pending:
        pending[key].add(grad)
    else:
        pending[key] = _Sum(grad, fresh)


def _as_array(value: Any) -> Any:
    """NumPy's arithmetic on arrays without axes gives scalars, which nothing can be added to."""
    return np.asarray(value) if isinstance(value, np.generic) else value


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
