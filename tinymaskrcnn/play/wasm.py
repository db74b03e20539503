"""The page's kernels: a WebAssembly module that is emitted from Python.

LLVM, which Numba brings along, can also compile for WebAssembly. So the register tile of
ops/simd/row_tile.py, from which every convolution on the CPU is made, becomes the page's kernel as
well: the same source, for vectors of four floats. LLVM makes an object file. A module that a
browser can start also says which functions it exports, so a section that says so is added here.

Addresses are bytes in the memory that the page provides. Not here: what calls the kernels
(page/ops.js).
"""

from __future__ import annotations

from functools import lru_cache

import llvmlite.binding as llvm
from llvmlite import ir

from ..errors import InputError
from ..ops.simd.emitter import FLOAT, INT, Emitter
from ..ops.simd.row_tile import emit_either_width

LANES = 4  # floats in a vector of WebAssembly
TILE_ROWS = 4  # two vectors each: with V8's scratch registers, all that the 16 of x86 hold
UNROLL = 1  # more made LLVM load ahead and spill: 43 GFLOP/s against 30 to 35
TRIPLE = "wasm32-unknown-unknown"
FEATURES = "+simd128"  # in all browsers since 2023
EXPORT = 7  # the number of its section
TYPES = {"f32": FLOAT, "i32": ir.IntType(32)}

SIGNATURES = {
    "convolve": (
        "i32 tiles, i32 rows, i32 taps, i32 depth, i32 panels, i32 bias, i32 first, i32 outs, "
        "i32 targets, i32 residual, i32 relu"
    ),
    "add_scaled": "i32 source, i32 target, f32 weight, i32 count",
}


@lru_cache(maxsize=1)
def wasm_module() -> bytes:
    """The module: `convolve` and `add_scaled`, in the memory `env.__linear_memory`.

    Raises:
        InputError: this machine's llvmlite cannot compile for WebAssembly.
    """
    module = ir.Module()
    module.triple = TRIPLE
    for name, emit in (("convolve", _convolve), ("add_scaled", _add_scaled)):
        emit(*_begin(module, name))
    return _with_exports(_compile(module), list(SIGNATURES))


def _begin(module: ir.Module, name: str) -> tuple[Emitter, dict[str, ir.Value]]:
    """Begin a function: an emitter, and the arguments by name, whole numbers as int64."""
    pairs = [words.split() for words in SIGNATURES[name].split(", ")]
    kind = ir.FunctionType(ir.VoidType(), [TYPES[kind] for kind, _ in pairs])
    function = ir.Function(module, kind, name)
    builder = ir.IRBuilder(function.append_basic_block())
    arguments = {
        word: builder.sext(value, INT) if kind == "i32" else value
        for (kind, word), value in zip(pairs, function.args, strict=True)
    }
    return Emitter(builder, LANES), arguments


def _convolve(emit: Emitter, a: dict[str, ir.Value]) -> None:
    """Compute some tiles of pixels times the panels of columns first .. outs - 1.

    for tile < tiles, for i < TILE_ROWS, for first <= o < outs:
        sum = bias[o] + sum over taps t and k < depth of
              (float at rows[tile, t, i] + 4*k) * panels[o // 8, t, k, o % 8]
        target = targets[tile, i] + 4*o
        if residual: sum += (float at target + 4*residual)
        (float at target) = max(sum, 0) if relu else sum

    rows and targets are int64 tables of byte addresses, as of `row_tile` in ops/simd/row_tile.py.
    """
    builder, width = emit.builder, 2 * LANES
    length = builder.mul(a["taps"], INT(TILE_ROWS))

    def table(name: str) -> ir.Value:
        return builder.inttoptr(a[name], INT.as_pointer())

    def tile(t: ir.Value, _: list) -> list:
        def panel(column: ir.Value, _: list) -> list:
            size = builder.mul(builder.mul(a["taps"], a["depth"]), column)
            named = {
                "rows": emit.at(table("rows"), builder.mul(t, length)),
                "taps": a["taps"],
                "depth": a["depth"],
                "shift": INT(0),
                "panel": emit.at(emit.pointer(a["panels"]), size),
                "targets": emit.at(table("targets"), builder.mul(t, INT(TILE_ROWS))),
                "target_shift": column,
                "bias": emit.at(emit.pointer(a["bias"]), column),
                "columns": builder.sub(a["outs"], column),
                "residual": a["residual"],
                "add_residual": a["residual"],
                "relu": a["relu"],
            }
            emit_either_width(emit, TILE_ROWS, named, UNROLL)
            return []

        return emit.loop(a["first"], a["outs"], width, [], panel)

    emit.loop(INT(0), a["tiles"], 1, [], tile)
    builder.ret_void()


def _add_scaled(emit: Emitter, a: dict[str, ir.Value]) -> None:
    """target[i] += weight * source[i] for i < count: in vectors, then one by one."""
    builder = emit.builder
    source, target = (emit.pointer(a[name]) for name in ("source", "target"))
    whole = builder.sub(a["count"], builder.srem(a["count"], INT(LANES)))
    for part, start, stop in ((emit, INT(0), whole), (Emitter(builder, 1), whole, a["count"])):
        weight = part.broadcast(a["weight"])

        def add(i: ir.Value, _: list, part: Emitter = part, weight: ir.Value = weight) -> list:
            place = part.at(target, i)
            more = part.load(part.at(source, i))
            part.store(part.multiply_add(weight, more, part.load(place)), place)
            return []

        part.loop(start, stop, part.lanes, [], add)
    builder.ret_void()


def _compile(module: ir.Module) -> bytes:
    """Optimise and compile to WebAssembly's object format."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    try:
        target = llvm.Target.from_triple(TRIPLE)
    except RuntimeError as problem:
        raise InputError(
            "this llvmlite was built without WebAssembly; the one that pip installs has it"
        ) from problem
    machine = target.create_target_machine(features=FEATURES, opt=3)
    compiled = llvm.parse_assembly(str(module))
    compiled.data_layout = str(machine.target_data)
    compiled.verify()
    passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    passes.getModulePassManager().run(compiled, passes)
    return machine.emit_object(compiled)


def _with_exports(module: bytes, names: list[str]) -> bytes:
    """The object file as a module that exports its functions: custom sections, which are for a
    linker, are left out, and an export section stands where the format wants it.
    """
    entries = b"".join(
        _number(len(name)) + name.encode() + b"\0" + _number(i) for i, name in enumerate(names)
    )
    export = _number(len(names)) + entries
    kept = [(kind, body) for kind, body in sections(module) if kind]
    before = [section for section in kept if section[0] < EXPORT]
    after = [section for section in kept if section[0] > EXPORT]
    parts = [*before, (EXPORT, export), *after]
    return module[:8] + b"".join(bytes([k]) + _number(len(b)) + b for k, b in parts)


def sections(module: bytes) -> list[tuple[int, bytes]]:
    """(kind, content) of each section of a module."""
    found, at = [], 8  # after the magic number and the version
    while at < len(module):
        kind = module[at]
        size, start = _read_number(module, at + 1)
        found.append((kind, module[start : start + size]))
        at = start + size
    return found


def _number(value: int) -> bytes:
    """LEB128: seven bits per byte, the lowest first; the top bit says that more follow."""
    low, rest = value & 127, value >> 7
    return bytes([low | 128]) + _number(rest) if rest else bytes([low])


def _read_number(data: bytes, at: int) -> tuple[int, int]:
    """A LEB128 number and the place after it."""
    value = data[at] & 127
    if not data[at] & 128:
        return value, at + 1
    rest, end = _read_number(data, at + 1)
    return value | rest << 7, end
