"""Kernels, and the check that what is launched is what was compiled.

`@kernel(types...)` declares the one form in which a kernel is ever compiled: the types of its
arguments, the threads of a block, and the registers a thread may take. A launch compares what it is
given with these types, in the simulator too; a Python number becomes the declared kind of number.
So the compile check of the tests sees every kernel as it will run, and none is compiled anew on the
way because somebody passed a float64.

Inside a kernel (the reasons are in the module's tests):
- every float literal is float32(...): a plain one makes its whole expression float64;
- no thread returns before a barrier; loads are guarded with `x if ok else float32(0)`;
- one `cuda.shared.array` a line, its shape of module constants;
- whole numbers are signed; only where a division counts they are uint32, cast after every step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import toolkit
from .array import GpuArray
from .device import current

cuda = toolkit.load()

from numba import types  # noqa: E402  after jit's settings
from numba.np import numpy_support  # noqa: E402

F, I = types.float32, types.int32  # noqa: E741
F1, F2, F3, F4 = (types.Array(F, n, "C") for n in (1, 2, 3, 4))
I1, I2, I3, I4 = (types.Array(I, n, "C") for n in (1, 2, 3, 4))
B3 = types.Array(types.boolean, 3, "C")

KERNELS: dict[str, Kernel] = {}  # every kernel by its name, filled as the ops' cuda.py are imported
MOST_BLOCKS = 4096  # of a kernel whose threads step through the cells: enough to fill any GPU


class Kernel:
    """A kernel with the one signature it has.

    Attributes:
        name: such as "max_pool2d.pool". function: the plain Python function. types: of its
            arguments. threads: of a block, (x, y). registers: a thread's budget, which the compile
            check enforces.
    """

    def __init__(
        self, function: Callable, types: tuple[Any, ...], threads: tuple[int, ...], registers: int
    ) -> None:
        place = function.__module__.partition(".ops.")[2].split(".")[0]
        self.name = f"{place}.{function.__name__.removeprefix('_')}"
        self.function, self.types, self.threads = function, types, threads
        self.registers = registers
        self.dispatcher = cuda.jit(function)

    def __getitem__(self, grid: int | tuple[int, ...]) -> Callable[..., None]:
        """`kernel[blocks](arguments)` launches it; nothing happens where there are no blocks."""
        blocks = (grid,) if isinstance(grid, int) else grid
        return lambda *arguments: self._launch(blocks, arguments)

    def _launch(self, grid: tuple[int, ...], arguments: tuple[Any, ...]) -> None:
        if len(arguments) != len(self.types):
            raise TypeError(f"{self.name} takes {len(self.types)} arguments, not {len(arguments)}")
        numbered = enumerate(zip(arguments, self.types, strict=True))
        checked = [self._check(i, given, declared) for i, (given, declared) in numbered]
        if 0 not in grid:
            current().launch(self, grid, checked)

    def _check(self, number: int, given: Any, declared: Any) -> Any:
        """The argument as the device takes it. Raises TypeError unless it is what was declared."""
        if isinstance(declared, types.Array):
            dtype = numpy_support.as_dtype(declared.dtype)
            if isinstance(given, GpuArray) and (given.dtype, given.ndim) == (dtype, declared.ndim):
                return given.view
        elif isinstance(declared, types.UniTuple):
            if isinstance(given, tuple) and len(given) == declared.count:
                return tuple(self._check(number, part, declared.dtype) for part in given)
        elif declared == I and isinstance(given, int | np.integer):  # bool is an int, 0 or 1
            if -(2**31) <= given < 2**31:
                return np.int32(given)
        elif declared == F and isinstance(given, int | float | np.floating):
            return np.float32(given)
        is_host_array = isinstance(given, np.ndarray) and given.ndim > 0
        what = f"a host array {given.shape}" if is_host_array else repr(given)
        raise TypeError(f"{self.name}: argument {number} is {what}, compiled for {declared}")


def kernel(
    *types: Any, threads: int | tuple[int, ...] = 256, registers: int = 48
) -> Callable[[Callable], Kernel]:
    """Declare a kernel: the types of its arguments, and its budget."""
    block = (threads,) if isinstance(threads, int) else threads

    def declare(function: Callable) -> Kernel:
        made = Kernel(function, types, block, registers)
        if KERNELS.setdefault(made.name, made) is not made:
            raise ValueError(f"two kernels {made.name}")
        return made

    return declare


def device_function(function: Callable) -> Any:
    """A function that kernels call; it is compiled into each of them."""
    return cuda.jit(device=True, inline="always" if not toolkit.is_simulator() else "never")(
        function
    )


def blocks(cells: int, threads: int = 256) -> int:
    """Blocks of a kernel whose threads step through so many cells."""
    return min(-(-cells // threads), MOST_BLOCKS)


def tuple_of(count: int) -> Any:
    """The type of a tuple of so many whole numbers: shapes and strides."""
    return types.UniTuple(I, count)
