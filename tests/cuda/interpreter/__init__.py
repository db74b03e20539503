"""An interpreter of PTX, in NumPy: it runs the *compiled* form of a kernel without a GPU.

One PTX instruction becomes one NumPy operation over all threads of the launch, so it is much faster
than Numba's simulator. And since it runs what the compiler emitted, it sees what the simulator
cannot: integer wrap-around, float64 promotion, the layout of shared memory, the order of barriers.
It raises PtxFault for:

- an access out of bounds or misaligned, in global, shared or local memory;
- a race: two threads touch one shared word between two barriers, and one of them writes; or two
  threads store to one global word without atomics;
- a read of shared memory that nobody wrote;
- a barrier that not every thread of the block reaches.

program.py reads the text, memory.py holds and checks memory, operations.py has the opcodes,
values.py their arithmetic, and run.py schedules. Only the opcodes of this project's kernels are
implemented; any other raises NotImplementedError with its line.

It cannot see: anything about speed; differences between runs (atomics are in thread order); races
between reads and writes of global memory; an index that leaves its row but stays inside the array.
fma is computed in float64 and rounded to float32.
"""

from .memory import PtxFault
from .program import Program
from .run import launch

__all__ = ["Program", "PtxFault", "launch"]
