"""Register tiles that sum outer products of packed rows: transpose(left) @ right.

Both operands are packed in panels, so that each step k of the inner loop reads one short stretch of
each. `outer_tile` is for the weight gradients, which have few rows and columns and a very long
inner axis (the pixels). Panels of its left operand are LEFT floats wide, those of the right PANEL;
both are whole vectors, so that packing copies vectors. `square_tile` is for matrices that serve as
left and as right operand: both have panels of PANEL floats. `line_tile` reads rows where they lie,
at any distance from each other, for operands too narrow to be worth packing.

Not here: packing itself, blocking, threads (ops/conv2d/cpu/grad_weight*.py, ops/orthogonalize).
"""

from math import lcm

from numba import types
from numba.extending import intrinsic

from ...jit import serial
from .emitter import INT, LANES, PANEL, TILE_ROWS, Emitter, data_pointer
from .row_tile import emit_products

OUTER_ROWS = 8 if TILE_ROWS == 12 else 6  # 8 divides 64, 128, 256; 6 is what 16 registers hold
LEFT = lcm(OUTER_ROWS, LANES)
SQUARE_ROWS = 8 if TILE_ROWS >= 8 else 4  # divides PANEL; 4 x 2 sums hide the latency of AVX's
LINE_HEIGHTS = tuple(range(3, TILE_ROWS + 1, 3))  # a kernel row of RGB pixels has 3 * width floats


def tile_maker(tile_rows, left_width):
    """An intrinsic: tile_rows x PANEL sums of a product of panels, which replace the output or are
    added to it; only the first LANES columns if no more are needed.

    for i < tile_rows, j < (LANES if columns <= LANES else PANEL):
        sum = sum over k < depth of left[left_at + k*left_width + i] * right[right_at + k*PANEL + j]
        out[out_at + i*PANEL + j] = sum + (out[out_at + i*PANEL + j] if add else 0)

    The sums start at zero, in registers, so rounding errors grow with the depth of a block and with
    the number of blocks, not with their product.
    """

    @intrinsic
    def tile(typing, depth, left, left_at, right, right_at, columns, out, out_at, add):
        number = types.intp
        signature = types.void(number, left, number, right, number, number, out, number, number)

        def code(context, builder, signature, args):
            def pointer(i):
                return data_pointer(context, builder, signature.args[i], args[i], args[i + 1])

            named = {
                "depth": args[0], "left": pointer(1), "right": pointer(3), "columns": args[5],
                "out": pointer(6), "add": args[8], "left_pitch": INT(left_width),
                "right_pitch": INT(PANEL), "out_pitch": INT(PANEL),
            }  # fmt: skip
            _emit_tile(Emitter(builder), tile_rows, named)
            return context.get_dummy_value()

        return signature, code

    return tile


def _emit_tile(emit, rows, arguments):
    """Emit a tile; arguments by name, arrays as pointers. It is one vector wide if that holds the
    columns, else two."""
    narrow = emit.builder.icmp_signed("<=", arguments["columns"], INT(LANES))
    with emit.builder.if_else(narrow) as (then, otherwise):
        with then:
            _emit_sums(emit, rows, 1, arguments)
        with otherwise:
            _emit_sums(emit, rows, PANEL // LANES, arguments)


def _emit_sums(emit, rows, width, arguments):
    """Emit a tile that is `width` vectors wide."""
    a, builder = arguments, emit.builder
    sums = emit_products(
        emit,
        [emit.constant(0)] * (rows * width),
        a["depth"],
        lambda i, k: emit.at(emit.at(a["left"], builder.mul(k, a["left_pitch"])), i),
        lambda k: emit.at(a["right"], builder.mul(k, a["right_pitch"])),
        width,
    )
    lines = [emit.at(a["out"], builder.mul(a["out_pitch"], INT(i))) for i in range(rows)]
    places = [emit.at(line, j * LANES) for line in lines for j in range(width)]
    pairs = list(zip(sums, places, strict=True))
    added = emit.choose(
        a["add"], sums, lambda _: [builder.fadd(emit.load(at), sum) for sum, at in pairs]
    )
    for value, place in zip(added, places, strict=True):
        emit.store(value, place)


outer_tile = tile_maker(OUTER_ROWS, LEFT)
square_tile = tile_maker(SQUARE_ROWS, PANEL)


@intrinsic
def line_tile(
    typing, depth, rows, left, left_at, left_pitch, right, right_at, right_pitch, columns,
    out, out_at, out_pitch,
):  # fmt: skip
    """Sum outer products of rows, read where they lie, and add the sums to the output.

    for i < (rows, rounded up to the next of LINE_HEIGHTS), j < (LANES if columns <= LANES else
    PANEL): out[out_at + i*out_pitch + j] += sum over k < depth of
    left[left_at + k*left_pitch + i] * right[right_at + k*right_pitch + j]
    """
    number = types.intp
    signature = types.void(
        number, number, left, number, number, right, number, number, number, out, number, number
    )

    def code(context, builder, signature, args):
        def pointer(i):
            return data_pointer(context, builder, signature.args[i], args[i], args[i + 1])

        named = {
            "depth": args[0], "left": pointer(2), "left_pitch": args[4], "right": pointer(5),
            "right_pitch": args[7], "columns": args[8], "out": pointer(9), "out_pitch": args[11],
            "add": INT(1),
        }  # fmt: skip

        for height in LINE_HEIGHTS:
            enough = builder.icmp_signed("<=", args[1], INT(height))
            needed = builder.icmp_signed(">", args[1], INT(height - 3))
            with builder.if_then(builder.and_(enough, needed)):
                _emit_tile(Emitter(builder), height, named)
        return context.get_dummy_value()

    return signature, code


@intrinsic
def copy_floats(typing, source, source_at, target, target_at, count):
    """target[target_at + j] = source[source_at + j] for j < count, and 0 up to a whole vector.

    Emitted here because LLVM, unsure whether the arrays overlap, copies one float at a time.
    """
    number = types.intp
    signature = types.void(source, number, target, number, number)

    def code(context, builder, signature, args):
        def pointer(i):
            return data_pointer(context, builder, signature.args[i], args[i], args[i + 1])

        emit, origin, place, count = Emitter(builder), pointer(0), pointer(2), args[4]

        def copy(j, carried):
            emit.store(emit.load(emit.at(origin, j)), emit.at(place, j))
            return carried

        whole = builder.sub(count, builder.srem(count, INT(LANES)))
        emit.loop(INT(0), whole, LANES, [], copy)
        with builder.if_then(builder.icmp_signed("<", whole, count)):
            rest = emit.load(emit.at(origin, whole), emit.mask_below(builder.sub(count, whole)))
            emit.store(rest, emit.at(place, whole))
        return context.get_dummy_value()

    return signature, code


@serial
def outer_products(
    depth, block, rows, left, left_at, columns, right, right_at, out, out_at, pitch, add
):
    """out = or += transpose(left) @ right.

    Args:
        left: panels (ceil(rows/LEFT), block, LEFT).
        right: panels (ceil(columns/PANEL), block, PANEL).
        out: from out_at on, panels of `pitch` floats with rows of PANEL floats. Whole tiles are
            written; the last ones are one vector wide if that holds the columns.
        block: rows of a panel in memory; if odd, the panels of one row do not compete in the cache.
    """
    for panel in range((columns + PANEL - 1) // PANEL):
        for row in range(0, rows, OUTER_ROWS):
            outer_tile(
                depth,
                left,
                left_at + row // LEFT * block * LEFT + row % LEFT,
                right,
                right_at + panel * block * PANEL,
                columns - panel * PANEL,
                out,
                out_at + panel * pitch + row * PANEL,
                add,
            )
