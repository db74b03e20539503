"""Winograd's two-dimensional transforms M X transpose(M), and a transpose, as vector code.

X is a small square of pixels (4x4, 6x6, ...), each a vector of LANES channels, and M is a constant
matrix, one of several by their size. All of X is read into registers, multiplied without a loop,
and written. The three makers differ in where X comes from and where the result goes. A *grid* keeps
its pixels a fixed pitch apart. A *table* holds each pixel's byte address: a pixel outside the map
can be read from a row of zeros, or written where it does no harm, so borders need no special code.

The matrices themselves are in ops/conv2d/winograd.py.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .emitter import INT, LANES, Emitter, data_pointer


def gather_transform(matrices):
    """An intrinsic: table -> grid.

    for r, s: out[out_at + (r*R + s)*out_pitch ...] = (M X M')[r, s], where M = matrices[size] is
    R x S and X[i, j] = LANES floats at address source[source_at + i*S + j] + 4*step
    """
    return _to_grid(_table, matrices)


def grid_transform(matrices):
    """An intrinsic: grid -> grid.

    for r, s: out[out_at + (r*R + s)*out_pitch ...] = (M X M')[r, s], where M = matrices[size] is
    R x S and X[i, j] = source[source_at + (i*S + j)*step ...]
    """
    return _to_grid(_grid, matrices)


def _to_grid(pixels, matrices):
    """An intrinsic that transforms what `pixels` finds into a grid."""

    @intrinsic
    def transform(typing, size, source, source_at, step, out, out_at, out_pitch):
        number = types.intp
        signature = types.void(number, source, number, number, out, number, number)

        def code(context, builder, signature, args):
            emit = Emitter(builder)

            def apply(matrix):
                load = pixels(context, emit, signature, args, 1, len(matrix[0]))
                place = _grid(context, emit, signature, args, 4, len(matrix))
                _transform(
                    emit,
                    matrix,
                    lambda i, j: emit.load(load(i, j)),
                    lambda r, s, value: emit.store(value, place(r, s)),
                )

            _by_size(builder, args[0], matrices, apply)
            return context.get_dummy_value()

        return signature, code

    return transform


def scatter_transform(matrices):
    """An intrinsic: grid -> table, with bias, residual and ReLU.

    for r, s: the LANES floats at table[table_at + r*R + s] + 4*shift become
    relu?((M X M')[r, s] + bias[bias_at ...] + (those at the same place + 4*residual, if
    add_residual)), where M = matrices[size] and X[i, j] = source[source_at + (i*S + j)*pitch ...].
    Everything is read before anything is stored, and pixel r = s = 0 is stored last, so a pixel
    outside the map may have that pixel's address.
    """

    @intrinsic
    def scatter(
        typing, size, source, source_at, pitch, table, table_at, shift, bias, bias_at, residual,
        add_residual, relu,
    ):  # fmt: skip
        number = types.intp
        signature = types.void(
            number, source, number, number, table, number, number, bias, number, number, number,
            number,
        )  # fmt: skip

        def code(context, builder, signature, args):
            emit = Emitter(builder)

            def apply(matrix):
                load = _grid(context, emit, signature, args, 1, len(matrix[0]))
                place = _table(context, emit, signature, args, 4, len(matrix))
                at = data_pointer(context, builder, signature.args[7], args[7], args[8])
                bias, results = emit.load(at), []
                _transform(
                    emit,
                    matrix,
                    lambda i, j: emit.load(load(i, j)),
                    lambda r, s, value: results.append((place(r, s), builder.fadd(value, bias))),
                )
                _finish(emit, results, *args[9:])

            _by_size(builder, args[0], matrices, apply)
            return context.get_dummy_value()

        return signature, code

    return scatter


def _by_size(builder, size, matrices, apply):
    """Emit apply(matrices[size]); a kernel has the code of all sizes."""
    for key, matrix in matrices.items():
        with builder.if_then(builder.icmp_signed("==", size, INT(key))):
            apply(matrix)


@intrinsic
def transpose_block(
    typing, source, source_at, pitch, rows, columns, out, out_at, places, places_at
):
    """Write the columns of a block, at most LANES x LANES, as rows, each to its own place.

    for e < min(columns, LANES), j < LANES:
        out[out_at + places[places_at + e] + j] =
            source[source_at + j*pitch + e] if j < rows else 0

    Whole vectors are read and written; in between are log2(LANES) rounds of interleaving.
    """
    number = types.intp
    signature = types.void(source, number, number, number, number, out, number, places, number)

    def code(context, builder, signature, args):
        emit, kinds = Emitter(builder), signature.args
        origin = data_pointer(context, builder, kinds[0], args[0], args[1])
        target = data_pointer(context, builder, kinds[5], args[5], args[6])
        offsets = data_pointer(context, builder, kinds[7], args[7], args[8])
        wanted, nothing = emit.mask_below(args[4]), emit.mask_below(INT(0))
        vectors = []
        for j in range(LANES):
            present = builder.icmp_signed("<", INT(j), args[3])
            mask = builder.select(present, wanted, nothing)
            vectors.append(emit.load(emit.at(origin, builder.mul(args[2], INT(j))), mask))
        for e, vector in enumerate(_transposed(emit, vectors)):
            with builder.if_then(builder.icmp_signed("<", INT(e), args[4])):
                emit.store(vector, emit.at(target, builder.load(emit.at(offsets, e))))
        return context.get_dummy_value()

    return signature, code


def _transposed(emit, vectors):
    """The columns of a square matrix given by rows. Interleaving row i with row i + LANES/2 moves
    one bit of the row number into the column number, so log2(LANES) rounds exchange the two."""
    lanes, half = emit.lanes, emit.lanes // 2
    kind = ir.VectorType(ir.IntType(32), lanes)
    low = [k // 2 + k % 2 * lanes for k in range(lanes)]
    orders = ir.Constant(kind, low), ir.Constant(kind, [k + half for k in low])
    for _ in range(lanes.bit_length() - 1):
        vectors = [
            emit.builder.shuffle_vector(vectors[i // 2], vectors[i // 2 + half], orders[i % 2])
            for i in range(lanes)
        ]
    return vectors


def _finish(emit, results, residual, add_residual, relu):
    """Add the residual, apply the ReLU, store; results are (place, value) pairs."""

    def add(values):
        pairs = zip(results, values, strict=True)
        return [
            emit.builder.fadd(value, emit.load(emit.at(place, residual)))
            for (place, _), value in pairs
        ]

    low = emit.floor(relu)
    values = emit.choose(add_residual, [value for _, value in results], add)
    stores = [(place, value) for (place, _), value in zip(results, values, strict=True)]
    for place, value in reversed(stores):  # the first pixel last: see `scatter_transform`
        emit.store(emit.at_least(value, low), place)


def _table(context, emit, signature, args, first, size):
    """Pixel pointers of the table whose array, start and shift are args[first : first + 3]."""
    pixels = data_pointer(context, emit.builder, signature.args[first], *args[first : first + 2])

    def pointer(i, j):
        address = emit.builder.load(emit.at(pixels, i * size + j))
        return emit.at(emit.pointer(address), args[first + 2])

    return pointer


def _grid(context, emit, signature, args, first, size):
    """Pixel pointers of the grid whose array, start and pitch are args[first : first + 3]."""
    origin = data_pointer(context, emit.builder, signature.args[first], *args[first : first + 2])

    def pointer(i, j):
        return emit.at(origin, emit.builder.mul(args[first + 2], INT(i * size + j)))

    return pointer


def _transform(emit, matrix, load, store):
    """store(r, s, (M X M')[r, s]) for X[i, j] = load(i, j): columns first, then rows."""
    size = len(matrix[0])
    columns = [_rows(emit, matrix, [load(i, j) for i in range(size)]) for j in range(size)]
    for r in range(len(matrix)):
        for s, value in enumerate(_rows(emit, matrix, [column[r] for column in columns])):
            store(r, s, value)


def _rows(emit, matrix, vectors):
    """M times a column of vectors. Two rows that mirror each other, e + o and e - o, share the sums
    e and o, which saves a third of the additions."""
    results = [None] * len(matrix)
    for r, row in enumerate(matrix):
        if results[r] is not None:
            continue
        even, odd, mirror = _split(matrix, r)
        if mirror is None:
            results[r] = _combine(emit, row, vectors, range(len(row)))
        else:
            sums = _combine(emit, row, vectors, even)
            differences = _combine(emit, row, vectors, odd)
            results[r] = emit.builder.fadd(sums, differences)
            results[mirror] = emit.builder.fsub(sums, differences)
    return results


def _split(matrix, r):
    """(equal columns, opposite columns, row) of a later row that mirrors row r; row may be None."""
    row = matrix[r]
    for other in range(r + 1, len(matrix)):
        pairs = list(zip(row, matrix[other], strict=True))
        even = [j for j, (a, b) in enumerate(pairs) if a == b != 0]
        odd = [j for j, (a, b) in enumerate(pairs) if a == -b != 0]
        if even and odd and all(abs(a) == abs(b) for a, b in pairs):
            return even, odd, other
    return [], [], None


def _combine(emit, row, vectors, columns):
    """Sum of row[j] * vectors[j]; ones first, since they need only an addition and no constant."""
    total = None
    for j in sorted((j for j in columns if row[j] != 0), key=lambda j: row[j] != 1):
        factor = emit.constant(row[j])
        if total is None:
            total = vectors[j] if row[j] == 1 else emit.builder.fmul(vectors[j], factor)
        elif row[j] == 1:
            total = emit.builder.fadd(total, vectors[j])
        elif row[j] == -1:
            total = emit.builder.fsub(total, vectors[j])
        else:
            total = emit.multiply_add(vectors[j], factor, total)
    return total
