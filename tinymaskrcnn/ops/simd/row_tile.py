"""The register tile: a few rows times one packed panel, with all sums in registers.

It is the inner product of every convolution and linear layer.
"""

from numba import types
from numba.extending import intrinsic

from .emitter import HALF_ROWS, INT, TILE_ROWS, Emitter, data_pointer


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
