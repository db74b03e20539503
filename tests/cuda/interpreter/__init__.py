"""An interpreter of PTX, in NumPy: it runs the *compiled* form of a kernel without a GPU.

One PTX instruction becomes one NumPy operation over every thread of the launch, so it is much
faster than Numba's simulator, and because it runs what the compiler emitted it also sees what the
simulator cannot: integer wrap-around, float64 promotion, the layout of shared memory, the order of
barriers. While it runs it checks, and raises PtxFault:

- access out of bounds or misaligned, in global, shared and local memory;
- races: two threads touching one shared word between two barriers, one of them writing; two threads
  storing to one global word without atomics;
- reading shared memory that nobody wrote;
- a barrier that not every thread of the block reaches.

program.py reads the text, memory.py holds and checks memory, operations.py has the opcodes,
values.py their arithmetic, run.py schedules. Only opcodes met in this project's kernels are there;
any other raises NotImplementedError with its line.

What it cannot tell: anything about speed; differences between runs (atomics are in thread order);
races between reads and writes of global memory; an index that leaves its row but stays inside the
array. fma is computed in float64 and rounded to float32.
"""

from .memory import PtxFault
from .program import Program
from .run import launch

__all__ = ["Program", "PtxFault", "launch"]
