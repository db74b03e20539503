"""Instructions on whole vectors of floats, for this machine's vector width."""

import platform

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic

from ...jit import serial

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
