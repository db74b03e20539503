"""Vector code that Numba's kernels call, written for this machine's vector width.

Numba compiles loops over scalars, and LLVM's code for them falls short of the processor's peak in a
matrix product. Peak speed needs a block of the result that stays in registers while the operands
stream by. These modules write such blocks, instruction by instruction, with `@intrinsic` and
llvmlite. The kernels in ops/*/cpu call them from ordinary Numba loops.

- emitter.py: how many floats a vector has, and the instructions on vectors
- row_tile.py: rows anywhere in memory times a packed panel, for convolutions and linear layers
- outer.py: sums of outer products, for the gradients of weights
- transforms.py: Winograd's transforms, and a transpose in registers
- streams.py: rows written past the caches

Floats are float32. Addresses are byte addresses in int64 (`array.ctypes.data + 4 * offset`), so
that one table can point into a map or, for places outside it, into a row of zeros.

Not here: blocking for caches, threads, edges of matrices. Nothing is checked.
"""
