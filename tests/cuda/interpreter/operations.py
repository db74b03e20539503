"""The opcodes: each instruction becomes a function of the threads that run it.

`mask` is an index of threads: a slice for all, or an array of numbers. A register holds raw bits;
`get` and `put` view them as the instruction's type.
"""

import re

import numpy as np

from .memory import LOCAL_WINDOW, SHARED_WINDOW
from .program import DTYPES
from .values import (
    bits_of,
    comparison,
    high_product,
    kind,
    quotient,
    remainder,
    rounded,
    saturated,
    to_whole,
    wider,
)

_ARGUMENT = re.compile(r"\{[^}]*\}|\[[^\]]*\]|[^,\s][^,]*")
_ADDRESS = re.compile(r"\[\s*(.+?)\s*(?:\+\s*(-?\d+))?\s*\]$")
_SPACES = ("global", "const", "shared", "local")
_KNOWN = {  # known parts of opcodes, between the dots; any other could change the meaning
    *DTYPES, *_SPACES, "param", "generic", "to", "v2", "v4", "nc", "volatile", "relaxed", "gpu",
    "cta", "sys", "gl", "lo", "hi", "wide", "uni", "full", "approx", "ftz", "rn", "rz", "rm", "rp",
    "rzi", "rmi", "rpi", "rni", "sat", "and", "or", "xor", "add", "min", "max", "exch", "cas",
    "lt", "le", "gt", "ge", "eq", "ne", "ls", "hs", "num", "nan", "equ", "neu", "ltu",
    "leu", "gtu", "geu",
}  # fmt: skip
_ROUNDINGS = {"rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil, "rni": np.rint}
_U4, _U8 = np.dtype("u4"), np.dtype("u8")


_LOGIC = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}
_ONE = {
    "mov": lambda x: x,
    "neg": np.negative,
    "abs": np.abs,
    "not": np.invert,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "rcp": lambda x: 1 / x,
    "ex2": np.exp2,
    "lg2": np.log2,
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
}
_ATOMIC = {
    "add": lambda old, x: old + x,
    "min": min,
    "max": max,
    "and": lambda old, x: old & x,
    "or": lambda old, x: old | x,
    "xor": lambda old, x: old ^ x,
    "exch": lambda old, x: x,
}


class Operations:
    """Makes the functions for one launch.

    Args:
        program: the kernel.
        special: values of %tid.x and the like.
        parameters: by name.
        symbols: addresses of constant arrays.
        memory: the launch's memory.
    """

    def __init__(self, program, special, parameters, symbols, memory, threads):
        self.program, self.special, self.parameters = program, special, parameters
        self.symbols, self.memory, self.threads = symbols, memory, threads
        self.registers = {n: np.zeros(threads, dtype) for n, dtype in program.registers.items()}

    def operation(self, line):
        """The function for an instruction other than a jump or barrier."""
        predicate = None
        full = line
        if line[0] == "@":
            guard, line = line.split(" ", 1)
            predicate = self.registers[guard.lstrip("@!")], guard[1] != "!"
        opcode, _, rest = line.partition(" ")
        fields = opcode.split(".")
        arguments = [part.strip() for part in _ARGUMENT.findall(rest)]
        run = self._emit(fields, arguments, full)
        return run if predicate is None else self._guarded(run, *predicate)

    def _guarded(self, run, register, wanted):
        def guarded(mask):
            chosen = np.arange(self.threads)[mask]
            chosen = chosen[register[chosen] == wanted]
            if len(chosen):
                run(chosen)

        return guarded

    def _emit(self, fields, arguments, line):
        name = fields[0]
        dtype = DTYPES.get(fields[-1])
        if not _KNOWN.issuperset(fields[1:]):
            raise NotImplementedError(f"PTX: {line}")
        maker = getattr(self, f"_{name}", None)
        if name != "cvt" and name != "fma" and {"sat", "rz", "rm", "rp"} & set(fields):
            made = self._directed(name, fields, arguments, dtype)
        elif maker is not None:
            made = maker(fields, arguments, dtype, line)
        elif name in _ONE:
            made = self._apply(_ONE[name], arguments, dtype)
        else:
            made = self._two(name, arguments, dtype)
        if made is None:
            raise NotImplementedError(f"PTX: {line}")
        return made

    # Operands

    def get(self, text, dtype):
        """A function from a mask to the values of an operand, which is a register or a constant."""
        if text in self.registers:
            bits = self.registers[text]
            if "b" in (bits.dtype.kind, dtype.kind) or bits.itemsize != dtype.itemsize:
                return lambda mask: bits[mask].astype(dtype)
            values = bits.view(dtype)
            return lambda mask: values[mask]
        if text in self.special:
            values = self.special[text].astype(dtype)
            return lambda mask: values[mask]
        value = self._constant(text, dtype)
        return lambda mask: value

    def _constant(self, text, dtype):
        for addresses in (self.program.shared, self.symbols, {self.program.local[0]: 0}):
            if text in addresses:
                return dtype.type(addresses[text])
        if text[:2] in ("0f", "0F"):
            return np.array(int(text[2:], 16), "u4").view("f4")[()].astype(dtype)
        if text[:2] in ("0d", "0D"):
            return np.array(int(text[2:], 16), "u8").view("f8")[()].astype(dtype)
        if dtype.kind in "iu":
            bits = int(text.rstrip("U"), 0) & (2 ** (8 * dtype.itemsize) - 1)
            return np.array(bits, f"u{dtype.itemsize}").view(dtype)[()]
        return dtype.type(int(text, 0))

    def put(self, text, dtype):
        """A function that stores values in a register; narrow values are extended to its width."""
        bits = self.registers[text]
        values = bits
        if bits.dtype != bool:
            width = bits.itemsize
            values = bits.view(dtype if dtype.itemsize == width else f"{kind(dtype)}{width}")

        def store(mask, value):
            values[mask] = np.asarray(value, dtype)

        return store

    def _address(self, text):
        base, offset = _ADDRESS.match(text).groups()
        width = self.registers[base].dtype if base in self.registers else _U8
        get, offset = self.get(base, width), int(offset or 0)
        block_of = self.memory.block_of

        def address(mask):
            value = np.asarray(get(mask)).astype(np.int64) + offset
            return value if value.ndim else np.full(len(block_of[mask]), value)

        return address

    def _apply(self, function, arguments, dtype, result=None):
        """put(function(operands))."""
        gets = [self.get(a, dtype) for a in arguments[1:]]
        put = self.put(arguments[0], result or dtype)
        return lambda mask: put(mask, function(*(get(mask) for get in gets)))

    # Memory

    def _ld(self, fields, arguments, dtype, line):
        if "param" in fields:
            value = self.parameters[_ADDRESS.match(arguments[1])[1]]
            if value.itemsize == dtype.itemsize:
                value = np.array(value).view(dtype)[()]
            put = self.put(arguments[0], dtype)
            return lambda mask: put(mask, value)
        space, address = _space(fields), self._address(arguments[1])
        puts = [self.put(part, dtype) for part in _parts(arguments[0])]

        def load(mask):
            place = address(mask)
            for i, put in enumerate(puts):
                where = place + i * dtype.itemsize
                put(mask, self.memory.load(space, where, mask, dtype, line))

        return load

    _ldu = _ld

    def _st(self, fields, arguments, dtype, line):
        space, address = _space(fields), self._address(arguments[0])
        gets = [self.get(part, dtype) for part in _parts(arguments[1])]

        def store(mask):
            place = address(mask)
            for i, get in enumerate(gets):
                where = place + i * dtype.itemsize
                self.memory.store(space, where, mask, dtype, get(mask), line)

        return store

    def _atom(self, fields, arguments, dtype, line):
        names = [f for f in fields if f in _ATOMIC or f == "cas"]
        if len(names) != 1:
            return None
        returns = fields[0] == "atom" and arguments[0] != "_"
        put = self.put(arguments[0], dtype) if returns else None
        where, *values = arguments[fields[0] == "atom" :]
        address, gets = self._address(where), [self.get(v, dtype) for v in values]

        def atomic(mask):
            place = address(mask)
            given = [np.broadcast_to(get(mask), place.shape) for get in gets]

            def change(old, i):
                if names[0] == "cas":
                    return given[1][i] if old == given[0][i] else old
                return _ATOMIC[names[0]](old, given[0][i])

            old = self.memory.atomic(_space(fields), place, mask, dtype, change, line)
            if put:
                put(mask, old)

        return atomic

    _red = _atom

    def _cvta(self, fields, arguments, dtype, line):
        window = {"shared": SHARED_WINDOW, "local": LOCAL_WINDOW}.get(fields[-2], 0)
        window = np.int64(-window if fields[1] == "to" else window)
        return self._apply(
            lambda a: (np.asarray(a).astype("i8") + window).view("u8"), arguments, _U8
        )

    def _membar(self, fields, arguments, dtype, line):
        return lambda mask: None

    _fence = _membar

    # Moves and conversions

    def _mov(self, fields, arguments, dtype, line):
        if arguments[0][0] == "{":  # a 64-bit register into two halves
            low, high = (self.put(part, _U4) for part in _parts(arguments[0]))
            get = self.get(arguments[1], _U8)
            return lambda mask: (
                low(mask, (get(mask) & np.uint64(0xFFFFFFFF)).astype("u4")),
                high(mask, (get(mask) >> np.uint64(32)).astype("u4")),
            )
        if arguments[1][0] == "{":
            low, high = (self.get(part, _U4) for part in _parts(arguments[1]))
            put = self.put(arguments[0], _U8)
            return lambda mask: put(
                mask,
                np.asarray(low(mask)).astype("u8")
                | np.asarray(high(mask)).astype("u8") << np.uint64(32),
            )
        return self._apply(_ONE["mov"], arguments, dtype)

    def _cvt(self, fields, arguments, dtype, line):
        target, source = DTYPES[fields[-2]], dtype
        rounding = next((_ROUNDINGS[f] for f in fields if f in _ROUNDINGS), None)

        if {"rz", "rm", "rp"} & set(fields) or ("sat" in fields and target.kind != "f"):
            return None

        def convert(x):
            if source.kind == "f" and target.kind in "iu":
                return to_whole(rounding(np.asarray(x).astype("f8")), target)
            value = (rounding(x) if rounding else np.asarray(x)).astype(target)
            return saturated(value) if "sat" in fields else value

        return self._apply(convert, arguments, source, target)

    def _selp(self, fields, arguments, dtype, line):
        a, b = (self.get(text, dtype) for text in arguments[1:3])
        which, put = self.get(arguments[3], np.dtype(bool)), self.put(arguments[0], dtype)
        return lambda mask: put(mask, np.where(which(mask), a(mask), b(mask)))

    def _setp(self, fields, arguments, dtype, line):
        compare, logic = comparison(fields[1], dtype.kind == "f"), _LOGIC.get(fields[2])
        a, b = (self.get(text, dtype) for text in arguments[1:3])
        put = self.put(arguments[0], np.dtype(bool))
        if logic is None:
            return lambda mask: put(mask, compare(a(mask), b(mask)))
        other, negated = self.get(arguments[3].lstrip("!"), np.dtype(bool)), arguments[3][0] == "!"
        return lambda mask: put(mask, logic(compare(a(mask), b(mask)), other(mask) ^ negated))

    # Arithmetic

    def _fma(self, fields, arguments, dtype, line):
        """a * b + c; with .wide, integers of twice the width; floats are computed in float64."""
        result = wider(dtype) if "wide" in fields else dtype
        inner = np.dtype("f8") if dtype.kind == "f" else result
        is_float = dtype.kind == "f"
        a, b = (self.get(text, dtype) for text in arguments[1:3])
        c, put = self.get(arguments[3], result), self.put(arguments[0], result)

        def run(mask):
            x, y, z = (np.asarray(get(mask)).astype(inner) for get in (a, b, c))
            put(mask, rounded(x * y + z, result, fields) if is_float else x * y + z)

        return run

    _mad = _fma

    def _directed(self, name, fields, arguments, dtype):
        """Float32 sums and products that saturate or do not round to nearest."""
        function = {"add": np.add, "sub": np.subtract, "mul": np.multiply}.get(name)
        if function is None or dtype != np.float32:
            return None
        wide = lambda a, b: function(np.asarray(a, "f8"), np.asarray(b, "f8"))  # noqa: E731
        return self._apply(lambda a, b: rounded(wide(a, b), dtype, fields), arguments, dtype)

    def _mul(self, fields, arguments, dtype, line):
        if "wide" in fields:
            wide = wider(dtype)
            product = lambda a, b: np.asarray(a).astype(wide) * np.asarray(b).astype(wide)  # noqa: E731
            return self._apply(product, arguments, dtype, wide)
        if "hi" in fields:
            return self._apply(lambda a, b: high_product(a, b, dtype), arguments, dtype)
        return self._apply(np.multiply, arguments, dtype)

    def _two(self, name, arguments, dtype):
        """Functions of two operands of the instruction's type."""
        functions = {
            "add": np.add,
            "sub": np.subtract,
            "min": np.fmin if dtype.kind == "f" else np.minimum,
            "max": np.fmax if dtype.kind == "f" else np.maximum,
            "and": np.bitwise_and if dtype.kind != "b" else np.logical_and,
            "or": np.bitwise_or,
            "xor": np.bitwise_xor,
            "div": np.divide if dtype.kind == "f" else quotient,
            "rem": remainder,
            "copysign": lambda a, b: np.copysign(b, a),
        }
        return self._apply(functions[name], arguments, dtype) if name in functions else None

    def _shl(self, fields, arguments, dtype, line):
        bits = 8 * dtype.itemsize
        return self._shift(
            lambda x, n: np.where(n >= bits, 0, x << np.minimum(n, bits - 1).astype(dtype)),
            arguments,
            dtype,
        )

    def _shr(self, fields, arguments, dtype, line):
        """Signed values keep their sign."""
        bits = 8 * dtype.itemsize

        def shift(x, n):
            shifted = x >> np.minimum(n, bits - 1).astype(dtype)
            return shifted if dtype.kind == "i" else np.where(n >= bits, 0, shifted)

        return self._shift(shift, arguments, dtype)

    def _shift(self, function, arguments, dtype):
        x, amount = self.get(arguments[1], dtype), self.get(arguments[2], _U4)
        put = self.put(arguments[0], dtype)
        return lambda mask: put(mask, function(x(mask), np.asarray(amount(mask))))

    def _popc(self, fields, arguments, dtype, line):
        return self._apply(np.bitwise_count, arguments, dtype, _U4)

    def _clz(self, fields, arguments, dtype, line):
        width = 8 * dtype.itemsize

        def leading_zeros(x):
            bits = bits_of(x)
            return np.where(bits.any(1), bits.argmax(1), width)

        return self._apply(leading_zeros, arguments, dtype, _U4)

    def _brev(self, fields, arguments, dtype, line):
        def reverse(x):
            packed = np.packbits(bits_of(x)[:, ::-1], axis=1)
            return np.ascontiguousarray(packed).view(dtype.newbyteorder(">"))[:, 0]

        return self._apply(reverse, arguments, dtype)

    def _bfe(self, fields, arguments, dtype, line):
        """Extract an unsigned field of bits at a fixed place."""
        if dtype.kind != "u" or any(text[0] == "%" for text in arguments[2:]):
            return None
        place, length = dtype.type(int(arguments[2])), dtype.type((1 << int(arguments[3])) - 1)
        return self._apply(lambda x: x >> place & length, arguments[:2], dtype)

    def _bfi(self, fields, arguments, dtype, line):
        """Insert the low bits of a into b at a fixed place."""
        if any(text[0] == "%" for text in arguments[3:]):
            return None
        place, length = int(arguments[3]), int(arguments[4])
        field = ((1 << length) - 1) << place
        at, keep = dtype.type(place), dtype.type(~field & (2 ** (8 * dtype.itemsize) - 1))
        insert = lambda a, b: (b & keep) | (a << at & dtype.type(field))  # noqa: E731
        return self._apply(insert, arguments[:3], dtype)


def _space(fields):
    found = next((f for f in fields if f in _SPACES), "generic")
    return "global" if found == "const" else found


def _parts(text):
    """The registers of a vector, or the single register."""
    return [part.strip() for part in text.strip("{} ").split(",")]
