"""Writes a graph of ONNX operators as one writes NumPy: `(a + b) * 0.5`, `g.Relu(x)`, `boxes[0:4]`.

Only `finish` needs the package onnx.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from typing import Any

import numpy as np

from ..errors import InputError

OPSET, IR_VERSION = 18, 8  # of ONNX 1.13 (2022), the first with all that is used here
LARGEST = (1 << 31) - (1 << 20)  # bytes of weights; protobuf allows a file 2 GiB
FLOAT, INT64, DOUBLE = 1, 7, 11  # onnx.TensorProto's numbers of these types


class Value:
    """A result in the graph. Operators on it add nodes.

    A Python number beside it becomes a constant: float32 if it is a float, int64 if it is whole.
    """

    __array_ufunc__ = None  # so that array + value asks the value

    def __init__(self, graph: Graph, name: str) -> None:
        self.graph, self.name = graph, name

    def __add__(self, other: Any) -> Value:
        return self.graph.Add(self, other)

    def __radd__(self, other: Any) -> Value:
        return self.graph.Add(other, self)

    def __sub__(self, other: Any) -> Value:
        return self.graph.Sub(self, other)

    def __rsub__(self, other: Any) -> Value:
        return self.graph.Sub(other, self)

    def __mul__(self, other: Any) -> Value:
        return self.graph.Mul(self, other)

    def __rmul__(self, other: Any) -> Value:
        return self.graph.Mul(other, self)

    def __truediv__(self, other: Any) -> Value:
        return self.graph.Div(self, other)

    def __rtruediv__(self, other: Any) -> Value:
        return self.graph.Div(other, self)

    def __floordiv__(self, other: Any) -> Value:
        """Of whole numbers that are not negative, which ONNX's Div truncates."""
        return self.graph.Div(self, other)

    def __neg__(self) -> Value:
        return self.graph.Neg(self)

    def __ge__(self, other: Any) -> Value:
        return self.graph.GreaterOrEqual(self, other)

    def __lt__(self, other: Any) -> Value:
        return self.graph.Less(self, other)

    def __and__(self, other: Any) -> Value:
        return self.graph.And(self, other)

    def __getitem__(self, rows: int | slice | list[int]) -> Value:
        """Along the first axis: one entry, a range, or a list of entries."""
        if isinstance(rows, slice):
            return self.graph.Slice(self, [rows.start or 0], [rows.stop], [0])
        return self.graph.Gather(self, rows, axis=0)


class Graph:
    """Nodes and constants in the order in which they are asked for.

    Every ONNX operator is a method: `g.Concat(a, b, axis=0)` adds a node and gives its result, and
    `outputs=2` gives a list of two. Inputs are Values, or anything that NumPy makes an array of;
    None leaves out an optional one.
    """

    def __init__(self) -> None:
        self.nodes: list[tuple[str, list[str], list[str], dict[str, Any]]] = []
        self.constants: dict[str, np.ndarray] = {}
        self._names: dict[tuple[Any, ...], str] = {}  # of constants by their content
        self._scope = ""

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Within this context, names of nodes begin with this, as a viewer shows them."""
        before, self._scope = self._scope, f"{self._scope}{name}/"
        yield
        self._scope = before

    def __getattr__(self, operator: str) -> Callable[..., Any]:
        if not operator[0].isupper():
            raise AttributeError(operator)
        return partial(self._node, operator)

    def _node(self, operator: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
        names = ["" if x is None else self._name(x) for x in inputs]
        own = f"{self._scope}{operator}_{len(self.nodes)}"
        results = [own] if outputs == 1 else [f"{own}_{i}" for i in range(outputs)]
        self.nodes.append((operator, names, results, attributes))
        values = [Value(self, name) for name in results]
        return values[0] if outputs == 1 else values

    def _name(self, value: Any) -> str:
        """The name of a value, or of the constant that it becomes; equal ones are stored once."""
        if isinstance(value, Value):
            return value.name
        array = np.asarray(value, np.float32 if type(value) is float else None, order="C")
        key = array.dtype.str, array.shape, sha256(array.tobytes()).digest()
        if key not in self._names:
            self._names[key] = f"{self._scope}constant_{len(self._names)}"
            self.constants[self._names[key]] = array
        return self._names[key]

    def input(self, name: str) -> Value:
        """What the graph is given, under this name."""
        return Value(self, name)

    def output(self, name: str, value: Value) -> None:
        """Give a result this name, by which a runtime returns it."""
        self.nodes.append(("Identity", [value.name], [name], {}))

    def finish(
        self,
        inputs: Mapping[str, tuple[int, Sequence[Any]]],
        outputs: Mapping[str, tuple[int, Sequence[Any]]],
        metadata: Mapping[str, str],
        **about: Any,
    ) -> Any:
        """The onnx.ModelProto, checked by onnx.

        Args:
            inputs, outputs: type and shape by name; a word in a shape stands for any number.
            metadata: texts by name. about: other fields, such as doc_string.

        Raises:
            InputError: onnx is not installed, or the weights are too large for a file.
        """
        onnx = require_onnx()
        size = sum(array.nbytes for array in self.constants.values())
        if size > LARGEST:
            raise InputError(f"{size / 2**30:.1f} GiB of weights: an ONNX file holds at most 2 GiB")
        make, store = onnx.helper, onnx.numpy_helper.from_array
        graph = make.make_graph(
            [make.make_node(o, i, r, name=r[0], **a) for o, i, r, a in self.nodes],
            "maskrcnn",
            [make.make_tensor_value_info(n, *kind) for n, kind in inputs.items()],
            [make.make_tensor_value_info(n, *kind) for n, kind in outputs.items()],
            [store(array, name) for name, array in self.constants.items()],
        )
        opset = [make.make_opsetid("", OPSET)]
        model = make.make_model(graph, opset_imports=opset, ir_version=IR_VERSION, **about)
        make.set_model_props(model, dict(metadata))
        onnx.checker.check_model(model, full_check=True)
        return model


def require_onnx() -> Any:
    """The package onnx. Raises InputError if it is not installed."""
    try:
        import onnx
    except ImportError as problem:
        raise InputError(
            f"export needs the package onnx ({problem}): pip install 'tinymaskrcnn[onnx]'"
        ) from problem
    return onnx


# What follows works on arrays as on Values, so that the same arithmetic serves sizes that are known
# and sizes that are not.


def cast(numbers: Any, kind: int) -> Any:
    """Numbers as FLOAT, INT64 (truncated) or DOUBLE."""
    if isinstance(numbers, Value):
        return numbers.graph.Cast(numbers, to=kind)
    return np.asarray(numbers).astype({FLOAT: "f4", INT64: "i8", DOUBLE: "f8"}[kind])


def floats(numbers: Any) -> Any:
    return cast(numbers, FLOAT)


def clipped(numbers: Any, low: Any, high: Any) -> Any:
    """Numbers in low..high, all of one type."""
    if isinstance(numbers, Value):
        return numbers.graph.Min(numbers.graph.Max(numbers, low), high)
    return np.clip(numbers, low, high)


def counted_to(count: Any) -> Any:
    """0 .. count - 1 as int64: an array if `count` is known, else a Value."""
    if isinstance(count, Value):
        return count.graph.Range(0, count, 1)
    return np.arange(int(count))


def spread(numbers: Any, axis: int) -> Any:
    """A new axis of length one, in an array or a Value."""
    if isinstance(numbers, Value):
        return numbers.graph.Unsqueeze(numbers, [axis])
    return np.expand_dims(numbers, axis)


def joined(*parts: Any) -> Any:
    """One-dimensional int64 arrays and Values one after the other: an array if all are arrays."""
    graph = next((part.graph for part in parts if isinstance(part, Value)), None)
    if graph is not None:
        return graph.Concat(*parts, axis=0)
    return np.concatenate([np.asarray(part, np.int64) for part in parts])
