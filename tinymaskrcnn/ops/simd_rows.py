"""Rows of results larger than a cache: made a stretch at a time, written past the caches.

An ordinary store first reads the cache line that it changes, and later writes it back: every byte
of a large result crosses the memory bus twice, and pushes something out of the cache that was
wanted. A store marked nontemporal collects whole lines on its way to memory instead. Two cores that
filled 340 MB with zeros: 28 GB/s with ordinary stores, 85 GB/s with these.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..jit import serial
from .simd import INT, LANES, Emitter, address, data_pointer

VECTOR = 4 * LANES  # bytes


@intrinsic
def ramp(typing, value, slope, fraction, fraction_at, count, out, out_at):
    """out[out_at + j] = value + slope * fraction[fraction_at + j] for j < count, and on to a whole
    vector: a run of a few floats takes one turn of the loop."""
    number, single = types.intp, types.float32
    signature = types.void(single, single, fraction, number, number, out, number)

    def code(context, builder, signature, args):
        emit = Emitter(builder)
        value, slope = (emit.broadcast(scalar) for scalar in args[:2])
        source = data_pointer(context, builder, signature.args[2], args[2], args[3])
        target = data_pointer(context, builder, signature.args[5], args[5], args[6])

        def line(j, carried):
            vector = emit.multiply_add(slope, emit.load(emit.at(source, j)), value)
            emit.store(vector, emit.at(target, j))
            return carried

        emit.loop(INT(0), args[4], LANES, [], line)
        return context.get_dummy_value()

    return signature, code


@intrinsic
def stream_bytes(typing, source, source_at, target, target_at, count):
    """target[target_at + j] = source[source_at + j] for j < count, past the caches.

    What comes before the first whole vector of the target, and after its last, is copied as usual.
    Before another thread may read the target, `finish_streams`.
    """
    number = types.intp
    signature = types.void(source, number, target, number, number)

    def code(context, builder, signature, args):
        def pointer(i):
            return data_pointer(context, builder, signature.args[i], args[i], args[i + 1])

        emit, origin, place, count = Emitter(builder), pointer(0), pointer(2), args[4]

        def copy_some(start, stop):
            some = builder.sub(stop, start)
            with builder.if_then(builder.icmp_signed(">", some, INT(0))):
                cgutils.raw_memcpy(builder, emit.at(place, start), emit.at(origin, start), some, 1)

        def copy_vector(j, carried):
            vector = emit.load(emit.at(origin, j))
            store = builder.store(vector, emit._as_vector(emit.at(place, j)))
            store.align = VECTOR
            one = builder.module.add_metadata([ir.IntType(32)(1)])
            store.set_metadata("nontemporal", one)
            return carried

        ahead = builder.and_(builder.neg(builder.ptrtoint(place, INT)), INT(VECTOR - 1))
        ahead = builder.select(builder.icmp_signed("<", ahead, count), ahead, count)
        whole = builder.sub(count, builder.srem(builder.sub(count, ahead), INT(VECTOR)))
        copy_some(INT(0), ahead)
        emit.loop(ahead, whole, VECTOR, [], copy_vector)
        copy_some(whole, count)
        return context.get_dummy_value()

    return signature, code


@intrinsic
def copy_vector(typing, source, source_at, target, target_at):
    """target[target_at + j] = source[source_at + j] for j < VECTOR, of bytes; all is read first."""
    number = types.intp

    def code(context, builder, signature, args):
        emit = Emitter(builder)
        origin = data_pointer(context, builder, signature.args[0], args[0], args[1])
        emit.store(emit.load(origin), data_pointer(context, builder, signature.args[2], *args[2:]))
        return context.get_dummy_value()

    return types.void(source, number, target, number), code


@intrinsic
def finish_streams(typing):
    """Wait until what this thread has streamed can be seen by others."""

    def code(context, builder, signature, args):
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), code


@serial
def stream_row(line, kept, target, at, last):
    """Stream line[VECTOR:], one of several rows that follow each other in `target`, to target[at:].

    A vector that two rows share would be half a store, before which the processor has to read: that
    takes as long as half a row. So what comes after the last whole vector is kept, in the VECTOR
    bytes ahead of the row, for the call with the next row, unless this is the `last`.

    Args:
        line, target: uint8. kept: how many bytes the previous row's call kept; 0 for the first row.

    Returns:
        how many bytes are kept now.
    """
    width = len(line) - VECTOR
    after = 0 if last else min((address(target) + at + width) % VECTOR, kept + width)
    stream_bytes(line, VECTOR - kept, target, at - kept, np.int64(kept + width - after))
    copy_vector(line, width, line, 0)
    return after
