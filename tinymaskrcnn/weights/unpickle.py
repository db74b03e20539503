"""Read the pickles inside PyTorch files, and those of NumPy arrays, without running anything that
they ask for.

A pickle is a program for a small stack machine. This one builds numbers, strings, lists, tuples,
dicts and descriptions of tensors (`StoredTensor`, `PickledArray`), and nothing else: a name outside
`_NAMES` is refused before anything is made of it, no name is ever imported, and no object of the
file's choice gets attributes. It is written out here rather than derived from `pickle.Unpickler`
because that class lets a file set attributes of whatever is allowed, and exhausts memory or the C
stack on a few hostile bytes.

Not here: the bytes of the tensors (torch_files.py), arrays (tensors.py). The format: PEP 307 and
the documentation of `pickletools`, which reads the opcodes.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ..errors import WeightsError
from .tensors import DTYPES, UNSIGNED, PickledArray, PickledType, Storage, StoredTensor

MAX_WORK = 500_000  # instructions; a large model with its optimiser has about ten thousand
MAX_BITS = 128  # of an integer, as in the state of a random generator; larger ones only cost time


@dataclass(frozen=True)
class Name:
    """An allowed name of the file, not yet called."""

    text: str


class _Mark:
    """Where a sequence begins on the stack."""


def unpickle(stream: Any, storages: dict[str, Storage] | None = None) -> Any:
    """Read one pickle.

    Args:
        stream: bytes, or an object with `read` and `readline`, left behind the pickle's last byte.
        storages: filled with every storage that the pickle mentions, by key.

    Returns:
        Plain Python values, with `StoredTensor` for tensors, `Storage` for bare storages and
        `PickledArray` for NumPy's arrays.

    Raises:
        WeightsError: the pickle is damaged, or asks for something that is not allowed.
    """
    machine = _Machine({} if storages is None else storages)
    for opcode, argument in _opcodes(stream):
        if opcode == "STOP":
            break
        machine.work(1)
        machine.step(opcode, argument)
    return machine.pop()


def _opcodes(stream: Any) -> Iterator[tuple[str, Any]]:
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            yield opcode.name, argument
    except (ValueError, OverflowError) as error:  # all that pickletools raises on bad bytes
        raise WeightsError(f"its pickle is damaged: {str(error)[:100]}") from error


class _Machine:
    """The stack, the memo, and one method or table entry for each opcode."""

    def __init__(self, storages: dict[str, Storage]) -> None:
        self.storages = storages
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.worked = 0

    def work(self, amount: int) -> None:
        """Count instructions, and elements that one instruction copies."""
        self.worked += amount
        if self.worked > MAX_WORK:
            raise WeightsError(f"its pickle takes more than {MAX_WORK} steps: refused")

    def step(self, opcode: str, argument: Any) -> None:
        if opcode in _IGNORED:
            return
        if opcode in _LITERALS:
            if isinstance(argument, int) and argument.bit_length() > MAX_BITS:
                raise WeightsError(f"its pickle has an integer of over {MAX_BITS} bits: refused")
            self.stack.append(argument)
        elif opcode in _CONSTANTS:
            self.stack.append(_CONSTANTS[opcode]())
        elif opcode in _PUTS:
            self.memo[len(self.memo) if argument is None else argument] = self.top(object)
        elif opcode in _GETS:
            self.stack.append(self.recall(argument))
        elif opcode in _ACTIONS:
            _ACTIONS[opcode](self, argument)
        else:
            raise WeightsError(f"its pickle uses {opcode}, which no weights need: refused")

    def pop(self, kind: type | tuple[type, ...] = object) -> Any:
        value = self.top(kind)
        self.stack.pop()
        return value

    def top(self, kind: type | tuple[type, ...]) -> Any:
        if not self.stack or isinstance(self.stack[-1], _Mark):
            raise WeightsError("its pickle is damaged: it takes from an empty stack")
        if not isinstance(self.stack[-1], kind):
            raise WeightsError(f"its pickle is damaged: misplaced {type(self.stack[-1]).__name__}")
        return self.stack[-1]

    def pop_to_mark(self) -> list[Any]:
        items: list[Any] = []
        while self.stack:
            item = self.stack.pop()
            if isinstance(item, _Mark):
                return items[::-1]
            items.append(item)
        raise WeightsError("its pickle is damaged: a sequence has no beginning")

    def recall(self, index: int) -> Any:
        if index not in self.memo:
            raise WeightsError(f"its pickle is damaged: nothing was stored under {index}")
        return self.memo[index]

    def name(self, text: str) -> None:
        """GLOBAL: argument "module name"."""
        full = text.replace(" ", ".", 1)
        if full not in _NAMES:
            raise WeightsError(
                f"it asks for {full[:100]!r}, which is neither a tensor nor a plain container: "
                "refused, nothing was run. Save the state dict alone"
            )
        self.stack.append(Name(full))

    def stack_name(self, _: None) -> None:
        name, module = self.pop(str), self.pop(str)
        self.name(f"{module} {name}")

    def reduce(self, _: None) -> None:
        arguments, function = self.pop(tuple), self.pop(Name)
        if function.text not in FUNCTIONS:
            raise WeightsError(f"it calls {function.text!r}, which is not a function: refused")
        self.work(len(arguments))
        self.work(sum(len(a) for a in arguments if isinstance(a, (list, dict))))
        self.stack.append(FUNCTIONS[function.text](arguments))

    def new_object(self, _: None) -> None:
        """An object made without a call: only a training script's settings, read as {}."""
        self.pop(tuple)
        name = self.pop(Name)
        if name.text != SETTINGS:
            raise WeightsError(f"its pickle uses NEWOBJ for {name.text!r}: refused")
        self.stack.append({})

    def build(self, _: None) -> None:
        """State set on an object. NumPy's arrays and types take it; what dicts get (`_metadata` of
        ordered dicts, settings) is dropped.
        """
        state = self.pop()
        value = self.top((dict, PickledArray, PickledType))
        if not isinstance(value, dict):
            value.set_state(state)

    def persistent(self, _: None) -> None:
        storage = _storage(self.pop(tuple))
        self.storages[storage.key] = storage
        self.stack.append(storage)

    def append(self, _: None) -> None:
        item = self.pop()
        self.top(list).append(item)

    def appends(self, _: None) -> None:
        items = self.pop_to_mark()
        self.top(list).extend(items)

    def set_item(self, _: None) -> None:
        value, key = self.pop(), self.pop()
        self.top(dict)[_key(key)] = value

    def set_items(self, _: None) -> None:
        items = self.pop_to_mark()
        self.top(dict).update(_pairs(items))

    def push_tuple(self, size: int) -> None:
        items = [self.pop() for _ in range(size)]
        self.stack.append(tuple(items[::-1]))


_IGNORED = {"PROTO", "FRAME"}
_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
    *("BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "MARK": _Mark,
}
_PUTS = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
_GETS = {"GET", "BINGET", "LONG_BINGET"}
_ACTIONS: dict[str, Callable[[_Machine, Any], Any]] = {
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.stack_name,
    "REDUCE": _Machine.reduce,
    "NEWOBJ": _Machine.new_object,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "DICT": lambda m, _: m.stack.append(dict(_pairs(m.pop_to_mark()))),
    "LIST": lambda m, _: m.stack.append(m.pop_to_mark()),
    "TUPLE": lambda m, _: m.stack.append(tuple(m.pop_to_mark())),
    "TUPLE1": lambda m, _: m.push_tuple(1),
    "TUPLE2": lambda m, _: m.push_tuple(2),
    "TUPLE3": lambda m, _: m.push_tuple(3),
    "POP": lambda m, _: m.pop(),
}


def _key(key: Any) -> Any:
    """Allow plain keys only: hashing a nested tuple can take for ever or overflow the C stack."""
    if not isinstance(key, (str, int, float, bytes, type(None))):
        raise WeightsError(f"its pickle has a dict key of type {type(key).__name__}: refused")
    return key


def _pairs(items: list[Any]) -> Iterator[tuple[Any, Any]]:
    if len(items) % 2:
        raise WeightsError("its pickle is damaged: a dict key has no value")
    return ((_key(key), value) for key, value in zip(items[::2], items[1::2], strict=True))


def _storage(identity: tuple[Any, ...]) -> Storage:
    """A persistent id: ("storage", type, key, device, elements[, (view key, offset, elements)])."""
    match identity:
        case ("storage", Name(kind), str(key), _, int(count), *view) if kind in STORAGES:
            storage = Storage(key, STORAGES[kind], 0, count)
        case _:
            raise WeightsError("its pickle is damaged: a tensor without a valid storage")
    match view:
        case [] | [None]:
            return storage
        case [(_, int(first), int(count))]:
            return replace(storage, first=first, elements=count)
    raise WeightsError("its pickle is damaged: an invalid view of a storage")


def _tensor(arguments: tuple[Any, ...]) -> StoredTensor:
    """(storage, offset, sizes, strides, requires_grad, hooks[, ...])."""
    match arguments:
        case (Storage() as storage, int(offset), tuple(sizes), tuple(strides), *_):
            return StoredTensor(storage, offset, sizes, strides)
    raise WeightsError("its pickle is damaged: an invalid tensor")


def _typed_tensor(arguments: tuple[Any, ...]) -> StoredTensor:
    """Like _tensor, but the storage counts bytes, and the seventh argument is the element type."""
    match arguments:
        case (_, _, _, _, _, _, Name(dtype), *_) if dtype in _DTYPE_NAMES:
            tensor = _tensor(arguments)
            return replace(tensor, storage=tensor.storage.as_type(_DTYPE_NAMES[dtype]))
    raise WeightsError("its pickle is damaged: an invalid typed tensor")


def _parameter(arguments: tuple[Any, ...]) -> StoredTensor:
    """(tensor, requires_grad, hooks[, state])."""
    match arguments:
        case (StoredTensor() as tensor, *_):
            return tensor
    raise WeightsError("its pickle is damaged: an invalid parameter")


def _ordered_dict(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    """() or one list of pairs, or a dict (a Counter's)."""
    match arguments:
        case ():
            return {}
        case (dict(items),):
            return dict(items)
        case (list(items),) if all(isinstance(i, (list, tuple)) and len(i) == 2 for i in items):
            return {_key(key): value for key, value in items}
    raise WeightsError("its pickle is damaged: an invalid dict")


def _new_array(arguments: tuple[Any, ...]) -> PickledArray:
    """(numpy.ndarray, ignored shape, ignored type): an array that its state is to fill."""
    match arguments:
        case (Name("numpy.ndarray"), _, _):
            return PickledArray()
    raise WeightsError("its pickle is damaged: an invalid array")


def _array_of_bytes(arguments: tuple[Any, ...]) -> PickledArray:
    """(bytes, type, shape, order): protocol 5. Or (shape, type as text, bytes): ndarray's own."""
    match arguments:
        case (
            bytes() | bytearray() as raw,
            PickledType() as dtype,
            tuple(shape),
            ("C" | "F") as order,
        ):
            return PickledArray(shape, dtype, order == "F", raw)
        case (tuple(shape), str(text), bytes() as raw):
            return PickledArray(shape, PickledType(text), False, raw)
    raise WeightsError("its pickle is damaged: an invalid array")


def _type(arguments: tuple[Any, ...]) -> PickledType:
    """(text such as "f4", ...)."""
    match arguments:
        case (str(text), *_):
            return PickledType(text)
    raise WeightsError("its pickle is damaged: an invalid type")


def _scalar(arguments: tuple[Any, ...]) -> PickledArray:
    """(type, bytes)."""
    match arguments:
        case (PickledType() as dtype, bytes() | str() as raw):
            return PickledArray((), dtype, False, raw)
    raise WeightsError("its pickle is damaged: an invalid number")


def _plain(*kinds: type) -> Callable[[tuple[Any, ...]], Any]:
    """A function of the file that returns its first argument, if that is of one of these kinds."""

    def first(arguments: tuple[Any, ...]) -> Any:
        if not arguments or not isinstance(arguments[0], kinds):
            raise WeightsError("its pickle is damaged: an invalid argument")
        return arguments[0]

    return first


FUNCTIONS: dict[str, Callable[[tuple[Any, ...]], Any]] = {
    "collections.OrderedDict": _ordered_dict,
    "collections.Counter": _ordered_dict,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _typed_tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch.Size": _plain(tuple, list),
    "torch.device": _plain(str),
    "_codecs.encode": _plain(str),
    "builtins.set": _plain(list),
    "__builtin__.set": _plain(list),
    "numpy.ndarray": _array_of_bytes,
    "numpy.dtype": _type,
} | {
    f"numpy.{core}.{name}": function
    for core in ("core", "_core")  # NumPy 1 and 2
    for name, function in (
        ("multiarray._reconstruct", _new_array),
        ("multiarray.scalar", _scalar),
        ("numeric._frombuffer", _array_of_bytes),
    )
}
STORAGES = {f"torch.{kind}Storage": dtype for kind, dtype in DTYPES.items()} | {
    "torch.storage.UntypedStorage": "uint8"
}
_DTYPE_NAMES = {f"torch.{name}": name for name in (*DTYPES.values(), *UNSIGNED)}
SETTINGS = "argparse.Namespace"  # torchvision's training scripts put it beside the weights
_NAMES = {*FUNCTIONS, *STORAGES, *_DTYPE_NAMES, SETTINGS}
