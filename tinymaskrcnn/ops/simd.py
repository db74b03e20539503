"""Vector primitives and register tiles, emitted as LLVM code for this machine's vector width.

Numba compiles loops over scalars, and LLVM's code for them falls short of the processor's peak in a
matrix product. Peak speed needs a block of the result that stays in registers while the operands
stream by. This module writes such blocks, instruction by instruction, with `@intrinsic` and
llvmlite. The kernels in ops/*/cpu.py call them from ordinary Numba loops.

`row_tile` is the inner product of every convolution and linear layer; simd_outer.py has that of the
weight gradients, simd_transforms.py has Winograd's transforms. Floats are float32; addresses are
byte addresses in int64 (`array.ctypes.data + 4 * offset`), so that one table can point into a map
or, for places outside it, into a row of zeros.

Not here: blocking for caches, threads, edges of matrices. Nothing is checked.
"""

import platform

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic

from ..jit import serial

INT = ir.IntType(64)
FLOAT = ir.FloatType()


def host_features() -> set[str]:
    """Names of the processor features that Numba compiles for, as LLVM spells them.

    Respects NUMBA_CPU_FEATURES; NUMBA_CPU_NAME=generic, which for Numba means no features; and
    NUMBA_ENABLE_AVX, which Numba itself sets to 0 on the first processors with AVX.
    """
    features = config.CPU_FEATURES
    if features is None:
        features = get_host_cpu_features()
    return {name[1:] for name in features.split(",") if name.startswith("+")}


def tile_shape(features: set[str], machine: str) -> tuple[int, int]:
    """(floats per vector, rows of a register tile) for a processor.

    A tile is two vectors wide. Registers hold its rows x 2 sums, two vectors of the panel and one
    broadcast. The row counts are the largest that LLVM compiles without spilling: AVX-512 has 32
    registers; NEON has 32 too, but broadcasts ahead; AVX has 16; SSE has 16 and needs one more per
    product.
    """
    if "avx512f" in features:
        return 16, 12
    if "avx" in features:
        return 8, 6
    return (4, 8) if machine.lower() in ("aarch64", "arm64") else (4, 5)


LANES, TILE_ROWS = tile_shape(host_features(), platform.machine())
HALF_ROWS = TILE_ROWS // 2
PANEL = 2 * LANES


class Emitter:
    """Appends instructions on vectors of `lanes` floats to an llvmlite builder."""

    def __init__(self, builder, lanes=LANES):
        self.builder = builder
        self.lanes = lanes
        self.vector = ir.VectorType(FLOAT, lanes)

    def pointer(self, address):
        """A byte address as a pointer to float."""
        return self.builder.inttoptr(address, FLOAT.as_pointer())

    def at(self, pointer, offset):
        """pointer + offset, counted in elements; offset is an int or an int64 value."""
        return self.builder.gep(pointer, [INT(offset) if isinstance(offset, int) else offset])

    def load(self, pointer, mask=None):
        """Load `lanes` floats, without alignment. Where the mask is off: 0, and nothing is read."""
        pointer = self._as_vector(pointer)
        if mask is None:
            vector = self.builder.load(pointer)
            vector.align = 4
            return vector
        arguments = [pointer, ir.IntType(32)(4), mask, self.constant(0)]
        return self._call("masked.load", "p0", self.vector, arguments)

    def store(self, vector, pointer, mask=None):
        pointer = self._as_vector(pointer)
        if mask is None:
            self.builder.store(vector, pointer).align = 4
        else:
            arguments = [vector, pointer, ir.IntType(32)(4), mask]
            self._call("masked.store", "p0", ir.VoidType(), arguments)

    def prefetch(self, pointer):
        """Fetch a cache line that will be written; harmless if the address is not valid."""
        write, keep, data = (ir.IntType(32)(1), ir.IntType(32)(3), ir.IntType(32)(1))
        arguments = [pointer, write, keep, data]
        kind = ir.FunctionType(ir.VoidType(), [argument.type for argument in arguments])
        name = "llvm.prefetch.p0"
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        self.builder.call(function, arguments)

    def constant(self, value):
        return ir.Constant(self.vector, [float(value)] * self.lanes)

    def broadcast(self, scalar):
        return self._splat(scalar, self.vector)

    def mask_below(self, count):
        """A mask of the lanes whose number is below `count` (int64)."""
        numbers = ir.Constant(ir.VectorType(INT, self.lanes), list(range(self.lanes)))
        return self.builder.icmp_signed("<", numbers, self._splat(count, numbers.type))

    def multiply_add(self, a, b, c):
        """a * b + c, in one instruction if the processor has one."""
        return self._call("fmuladd", None, self.vector, [a, b, c])

    def at_least(self, vector, low):
        """max(vector, low); NaN stays NaN."""
        return self.builder.select(self.builder.fcmp_ordered(">", low, vector), low, vector)

    def loop(self, start, stop, step, values, body):
        """for i in range(start, stop, step): values = body(i, values); returns the last values."""
        builder = self.builder
        before, head = builder.block, builder.append_basic_block("loop")
        inside, after = builder.append_basic_block("body"), builder.append_basic_block("done")
        builder.branch(head)
        builder.position_at_end(head)
        index = builder.phi(INT)
        index.add_incoming(start, before)
        carried = [builder.phi(value.type) for value in values]
        for phi, value in zip(carried, values, strict=True):
            phi.add_incoming(value, before)
        builder.cbranch(builder.icmp_signed("<", index, stop), inside, after)
        builder.position_at_end(inside)
        for phi, value in zip(carried, body(index, carried), strict=True):
            phi.add_incoming(value, builder.block)
        index.add_incoming(builder.add(index, INT(step)), builder.block)
        builder.branch(head)
        builder.position_at_end(after)
        return carried

    def choose(self, condition, values, change):
        """change(values) if the int64 condition is not 0, else values."""
        builder = self.builder
        before = builder.block
        with builder.if_then(builder.icmp_signed("!=", condition, INT(0))):
            changed = change(values)
            inside = builder.block
        merged = [builder.phi(value.type) for value in values]
        for phi, value, other in zip(merged, values, changed, strict=True):
            phi.add_incoming(value, before)
            phi.add_incoming(other, inside)
        return merged

    def floor(self, relu):
        """The lower bound of results, in every lane: 0 if relu is not 0, else -infinity."""
        on = self.builder.icmp_signed("!=", relu, INT(0))
        return self.broadcast(self.builder.select(on, FLOAT(0.0), FLOAT(float("-inf"))))

    def _as_vector(self, pointer):
        return self.builder.bitcast(pointer, self.vector.as_pointer())

    def _splat(self, scalar, kind):
        first = self.builder.insert_element(
            ir.Constant(kind, ir.Undefined), scalar, ir.IntType(32)(0)
        )
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), kind.count), [0] * kind.count)
        return self.builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), zeros)

    def _call(self, name, suffix, result, arguments):
        full = f"llvm.{name}.v{self.lanes}f32" + (f".{suffix}" if suffix else "")
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        function = cgutils.get_or_insert_function(self.builder.module, kind, full)
        return self.builder.call(function, arguments)


def data_pointer(context, builder, kind, array, offset):
    """Pointer to element `offset` of an array argument of an intrinsic."""
    return builder.gep(context.make_array(kind)(context, builder, array).data, [offset])


def emit_products(emit, sums, depth, left, panel, width, unroll=4):
    """sums[i*width + j] += sum over k < depth of left(i, k) * panel(k)[j], for vectors j < width.

    left(i, k) points to a float, panel(k) to a row of vectors. One round of the first loop takes
    `unroll` steps, which hides the loop's own instructions; a second loop does what remains.
    """
    builder = emit.builder

    def step(k, flat):
        row = panel(k)
        vectors = [emit.load(emit.at(row, j * emit.lanes)) for j in range(width)]
        products = []
        for i in range(len(flat) // width):
            scalar = emit.broadcast(builder.load(left(i, k)))
            parts = zip(vectors, flat[i * width : (i + 1) * width], strict=True)
            products += [emit.multiply_add(scalar, vector, part) for vector, part in parts]
        return products

    def turn(k, flat):
        for u in range(unroll):
            flat = step(builder.add(k, INT(u)), flat)
        return flat

    whole = builder.sub(depth, builder.srem(depth, INT(unroll)))
    sums = emit.loop(INT(0), whole, unroll, sums, turn)
    return emit.loop(whole, depth, 1, sums, step)


def emit_row_tile(emit, tile_rows, width, pitch, arguments, unroll=4):
    """Emit `row_tile` for tiles of `width` vectors from panels of `pitch` floats; arguments by
    name, arrays as pointers."""
    a, builder, full = arguments, emit.builder, emit.lanes * width
    starts = [j * emit.lanes for j in range(width)]
    masks = [emit.mask_below(builder.sub(a["columns"], INT(start))) for start in starts]
    bias = [emit.load(emit.at(a["bias"], s), mask) for s, mask in zip(starts, masks, strict=True)]

    def tap(t, flat):
        row = emit.at(a["rows"], builder.mul(t, INT(tile_rows)))
        addresses = [builder.load(emit.at(row, i)) for i in range(tile_rows)]
        pixels = [emit.at(emit.pointer(address), a["shift"]) for address in addresses]
        panel = emit.at(a["panel"], builder.mul(t, builder.mul(a["depth"], INT(pitch))))
        return emit_products(
            emit,
            flat,
            a["depth"],
            lambda i, k: emit.at(pixels[i], k),
            lambda k: emit.at(panel, builder.mul(k, INT(pitch))),
            width,
            unroll,
        )

    addresses = [builder.load(emit.at(a["targets"], i)) for i in range(tile_rows)]
    targets = [emit.at(emit.pointer(address), a["target_shift"]) for address in addresses]
    places = [emit.at(target, start) for target in targets for start in starts]
    for place in places:
        emit.prefetch(place)
    sums = emit.loop(INT(0), a["taps"], 1, bias * tile_rows, tap)
    low = emit.floor(a["relu"])

    def finish(masks):
        def add_residual(values):
            others = [emit.at(place, a["residual"]) for place in places]
            pairs = zip(values, others, masks, strict=True)
            return [builder.fadd(value, emit.load(other, mask)) for value, other, mask in pairs]

        values = emit.choose(a["add_residual"], sums, add_residual)
        for value, place, mask in zip(values, places, masks, strict=True):
            emit.store(emit.at_least(value, low), place, mask)

    whole = builder.icmp_signed(">=", a["columns"], INT(full))
    with builder.if_else(whole) as (then, otherwise):
        with then:
            finish([None] * len(places))
        with otherwise:
            finish(masks * tile_rows)


def emit_either_width(emit, tile_rows, arguments, unroll=4):
    """Emit `row_tile` for panels of two vectors, and for `columns` that fit into one."""
    builder, pitch = emit.builder, 2 * emit.lanes
    narrow = builder.icmp_signed("<=", arguments["columns"], INT(emit.lanes))
    with builder.if_else(narrow) as (then, otherwise):
        with then:
            emit_row_tile(emit, tile_rows, 1, pitch, arguments, unroll)
        with otherwise:
            emit_row_tile(emit, tile_rows, 2, pitch, arguments, unroll)


def row_tile_of(tile_rows):
    """An intrinsic: `tile_rows` pixels times one packed panel, PANEL columns wide, with bias,
    residual and ReLU.

    for i < tile_rows, j < columns:
        sum = bias[bias_at + j]
        for t < taps, k < depth:
            sum += (float at rows[rows_at + t*tile_rows + i] + 4*(shift + k))
                   * panel[panel_at + (t*depth + k)*PANEL + j]
        target = targets[targets_at + i] + 4*(target_shift + j)
        if add_residual: sum += (float at target + 4*residual)
        (float at target) = max(sum, 0) if relu else sum

    rows and targets are int64 tables of byte addresses: pixels may lie anywhere, so this one tile
    serves every kernel size, stride and dilation. The caller repeats the last row to fill the tile;
    columns beyond `columns` are neither read nor written. All tile_rows x PANEL sums stay in
    registers over taps and depth. If `columns` fit into one vector, each row has only one.
    """

    @intrinsic
    def tile(
        typing, rows, rows_at, taps, depth, shift, panel, panel_at, targets, targets_at,
        target_shift, bias, bias_at, columns, residual, add_residual, relu,
    ):  # fmt: skip
        numbers = types.intp
        signature = types.void(
            rows, numbers, numbers, numbers, numbers, panel, numbers, targets, numbers, numbers,
            bias, numbers, numbers, numbers, numbers, numbers,
        )  # fmt: skip

        def code(context, builder, signature, args):
            def pointer(i):
                return data_pointer(context, builder, signature.args[i], args[i], args[i + 1])

            named = {
                "rows": pointer(0), "taps": args[2], "depth": args[3], "shift": args[4],
                "panel": pointer(5), "targets": pointer(7), "target_shift": args[9],
                "bias": pointer(10), "columns": args[12], "residual": args[13],
                "add_residual": args[14], "relu": args[15],
            }  # fmt: skip
            emit_either_width(Emitter(builder), tile_rows, named)
            return context.get_dummy_value()

        return signature, code

    return tile


row_tile = row_tile_of(TILE_ROWS)
half_tile = row_tile_of(HALF_ROWS)  # for remaining rows that do not fill a whole tile


@intrinsic
def copy_row(typing, source, target, count):
    """Copy `count` floats from byte address source to byte address target."""

    def code(context, builder, signature, args):
        emit = Emitter(builder)
        source, target = emit.pointer(args[0]), emit.pointer(args[1])
        cgutils.raw_memcpy(builder, target, source, args[2], 4)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), code


@serial
def address(array):
    """Byte address of an array's first element; signed, so that sums with ints stay integers."""
    return np.int64(array.ctypes.data)
