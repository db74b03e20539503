"""Reverse-mode differentiation: the engine of lesson 01, for whole arrays.

A `Value` remembers the `Function` that computed it, as the lesson's Scalar remembers its parents.
`backward` walks this graph from the last value to the first, each node after all nodes that use its
outputs. At each node it turns the gradient of the output into one per input, and adds these up: the
lesson's loop, with a rule for arrays in place of a slope.

What is new here saves memory: a node frees what it saved as soon as its `backward` has run, and
gradients are added in place where nobody else holds the array. Only first derivatives: gradients
are plain arrays.

Not here: the operators (tensor.py), the rule of each operation (ops/*/op.py), and operations that
add to a gradient in place (in_place.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar

import numpy as np

from .backend import device_of, is_contiguous
from .errors import InputError
from .ops.basic import kernels

Observer = Callable[["Function", list[Any]], None]
_grad_enabled = ContextVar("grad_enabled", default=True)  # each thread has its own
_observer: ContextVar[Observer | None] = ContextVar("observer", default=None)


def is_grad_enabled() -> bool:
    """Whether operations on tensors that require gradients are recorded for backward."""
    return _grad_enabled.get()


@contextmanager
def no_grad() -> Iterator[None]:
    """Within this context this thread records no operation and saves nothing for backward."""
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


class Value:
    """An array in the graph. Tensor is a Value with operators.

    Attributes:
        data: the array.
        grad: d(what backward was called on) / d(data), an array of the same shape, or None.
        requires_grad: whether backward shall bring a gradient here.
        node: the Function that computed it; None for a leaf. Only leaves get a `grad`.
        output_index: which of the node's outputs it is.
    """

    __slots__ = ("__weakref__", "data", "grad", "node", "output_index", "requires_grad")

    def __init__(
        self,
        data: np.ndarray,
        requires_grad: bool = False,
        node: Function | None = None,
        output_index: int = 0,
    ) -> None:
        self.data, self.grad = data, None  # type: np.ndarray, np.ndarray | None
        self.requires_grad = requires_grad
        self.node, self.output_index = node, output_index

    @classmethod
    def computed(cls, data: np.ndarray, node: Function | None, output_index: int) -> Value:
        """An output of a Function; node is None if no gradient is wanted."""
        value = cls.__new__(cls)
        Value.__init__(value, data, node is not None, node, output_index)
        return value

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def dtype(self) -> np.dtype:
        return self.data.dtype

    @property
    def ndim(self) -> int:
        return self.data.ndim

    @property
    def size(self) -> int:
        return self.data.size


class Function:
    """One differentiable operation: settings in the constructor, arrays in `forward` and
    `backward`.

    Call an instance on Tensors (or plain arrays, or None) to run `forward`; the call returns one
    Tensor, or a tuple of them. Call it once: the instance is then the node of the graph.

    >>> class Square(Function):
    ...     def forward(self, x):
    ...         self.save(x)
    ...         return x * x
    ...
    ...     def backward(self, grad):
    ...         (x,) = self.saved
    ...         return 2 * x * grad

    Attributes:
        needs: for each input, whether its gradient is wanted.
    """

    output_type: ClassVar[type[Value]] = Value  # tensor.py makes it Tensor
    needs: tuple[bool, ...] = ()
    _saved: tuple[Any, ...] | None = ()

    def forward(self, *arrays: Any) -> Any:
        """Compute the output: one array, or a tuple of arrays."""
        raise NotImplementedError

    def backward(self, *grads: Any) -> Any:
        """Turn the gradient of each output into the gradient of each input: one array or None, or a
        tuple of them.

        It may return the very array it was given, or a view of it, but must never write into it.
        """
        raise NotImplementedError

    def save(self, *arrays: Any) -> None:
        """Keep arrays for backward, if any input needs a gradient."""
        if any(self.needs):
            self._saved = arrays

    @property
    def saved(self) -> tuple[Any, ...]:
        """What forward saved.

        Raises:
            RuntimeError: backward has already run and freed it.
        """
        if self._saved is None:
            raise RuntimeError(
                f"{type(self).__name__}: backward was already run through this operation and "
                "its buffers are freed; run the forward pass again before a second backward"
            )
        return self._saved

    def __call__(self, *inputs: Any) -> Any:
        recording = _grad_enabled.get()
        self.needs = tuple(recording and isinstance(x, Value) and x.requires_grad for x in inputs)
        _check_one_device(type(self).__name__, [x for x in inputs if isinstance(x, Value)])
        outputs = self.forward(*(x.data if isinstance(x, Value) else x for x in inputs))
        self.inputs = tuple(x if need else None for x, need in zip(inputs, self.needs, strict=True))
        node = self if any(self.needs) else None
        several = isinstance(outputs, tuple)
        self.output_count = len(outputs) if several else 1
        values = tuple(
            self.output_type.computed(array, node, i)
            for i, array in enumerate(outputs if several else (outputs,))
        )
        return values if several else values[0]

    def _pass_back(self, grads: list[Any], sums: GradientSums) -> None:
        """Run `backward` and add each gradient to the sum of its input."""
        gradients = self._finished(self.backward(*grads))
        for value, gradient in zip(self.inputs, gradients, strict=True):
            if value is not None and gradient is not None:
                sums.add(value, gradient)

    def _finished(self, gradients: Any) -> tuple[Any, ...]:
        """Free what was saved, and check the shapes of what backward returned."""
        self._saved = None
        gradients = gradients if isinstance(gradients, tuple) else (gradients,)
        for value, gradient in zip(self.inputs, gradients, strict=True):
            if value is not None and gradient is not None and gradient.shape != value.shape:
                raise RuntimeError(
                    f"{type(self).__name__}.backward returned a gradient of shape "
                    f"{gradient.shape} for an input of shape {value.shape}"
                )
        return gradients


def _check_one_device(operation: str, values: list[Value]) -> None:
    """Raise InputError unless all Values are on the host, or all on the device."""
    places = [device_of(value.data) for value in values]
    if len(set(places)) > 1:
        found = ", ".join(f"{v.shape} on {place}" for v, place in zip(values, places, strict=True))
        raise InputError(
            f"{operation}: its operands are on different devices: {found}; move them with "
            'Tensor.to(device) or model.to("cuda")'
        )


def backward(root: Any, grad: np.ndarray, on_leaf: Callable[[Any], None] | None = None) -> None:
    """Add d root / d leaf, times `grad`, to `.grad` of every leaf that requires it.

    Args:
        root: the Value to differentiate; it may itself be a leaf.
        grad: array of root's shape and dtype.
        on_leaf: called with each leaf once nothing more will be added to its `.grad`.
    """
    sums = GradientSums()
    sums.add(root, grad)
    order = _reverse_topological(root.node)
    leaves = _leaves_by_last_use(order) if on_leaf else {}
    for node in order:
        _visit(node, sums)
        for leaf in leaves.get(id(node), ()):
            on_leaf(leaf)  # type: ignore[misc]


def _visit(node: Function, sums: GradientSums) -> None:
    """Send the gradients of one node's outputs on to its inputs."""
    grads = sums.take(node)
    if all(grad is None for grad in grads):
        return
    if observer := _observer.get():
        observer(node, grads)
    _ = node.saved  # raises if backward has been here before
    node._pass_back(grads, sums)
    node.inputs = (None,) * len(node.inputs)  # frees activations that nothing else holds


def _reverse_topological(root: Function | None) -> list[Function]:
    """Every node that root depends on, each after all nodes that use it. Without recursion: graphs
    are thousands of nodes deep.
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
                (value.node, False)
                for value in node.inputs
                if value is not None and value.node is not None
            )
    return order[::-1]


def _leaves_by_last_use(order: list[Function]) -> dict[int, list[Any]]:
    """For the id of each node, the leaves that no later node of the walk uses."""
    last = {id(t): (t, node) for node in order for t in node.inputs if t is not None and not t.node}
    leaves: dict[int, list[Any]] = {}
    for leaf, node in last.values():
        leaves.setdefault(id(node), []).append(leaf)
    return leaves


class GradientSums:
    """The sum of the gradients that have arrived so far: a leaf's in its `.grad`, that of a value
    inside the graph here, until its node is visited.

    Others may hold the first gradient that arrives (Add gives one array to both its inputs), so
    nothing is added to it in place. The second makes a sum of our own, and the next ones are added
    to that in place.
    """

    def __init__(self) -> None:
        self._sums: dict[tuple[int, int], tuple[Any, bool]] = {}  # the sum, and whether it is ours

    def add(self, value: Value, gradient: Any, ours: bool = False) -> None:
        """Add a gradient to a value's sum.

        Args:
            value: a leaf, or a value inside the graph.
            gradient: array of the value's shape.
            ours: whether nobody else holds the array, so that it may be added to.
        """
        gradient = _as_array(gradient)
        if value.node is None:
            _add_to_leaf(value, gradient, ours)
            return
        key = id(value.node), value.output_index
        if key not in self._sums:
            self._sums[key] = gradient, ours
            return
        total, in_place = self._sums[key]
        run = kernels(total)
        total = run.accumulate(total, gradient) if in_place else run.add(total, gradient)
        self._sums[key] = _as_array(total), True

    def take(self, node: Function) -> list[Any]:
        """Remove and return the sums of a node's outputs, None where nothing has arrived."""
        return [self._sums.pop((id(node), i), (None,))[0] for i in range(node.output_count)]

    def to_add_to(self, value: Value | None, dtype: np.dtype) -> Any:
        """The sum of a value inside the graph, if gradients of this dtype may be added to it in
        place; else None.
        """
        if value is None or value.node is None:
            return None
        total, ours = self._sums.get((id(value.node), value.output_index), (None, False))
        return total if ours and total.dtype == dtype else None


def _add_to_leaf(leaf: Value, gradient: Any, ours: bool) -> None:
    if leaf.grad is not None:
        leaf.grad = kernels(leaf.grad).accumulate(leaf.grad, gradient)
    elif ours and gradient.dtype == leaf.dtype and is_contiguous(gradient):
        leaf.grad = gradient
    else:
        leaf.grad = kernels(gradient).copy(gradient)


def _as_array(value: Any) -> Any:
    """An array, also where NumPy's arithmetic on arrays without axes gave a scalar, which cannot be
    added to in place.
    """
    return np.asarray(value) if isinstance(value, np.generic) else value
