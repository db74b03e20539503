"""Kernels, and the check that each launch matches what was compiled.

`@kernel(types...)` declares the only form in which a kernel is ever compiled: the types of its
arguments, the threads per block, and the registers that a thread may use. Each launch, in the
simulator too, checks its arguments against these types, and converts Python numbers to the declared
type. So the tests' compile check sees every kernel as it will run, and no kernel is compiled again
because somebody passed a float64.

Rules inside a kernel (the module's tests give the reasons):
- write every float literal as float32(...): a plain one makes its whole expression float64;
- let no thread return before a barrier; guard loads with `x if ok else float32(0)`;
- put each `cuda.shared.array` on its own line, with a shape of module constants;
- keep integers signed; only for a division whose speed matters use uint32, cast after every step.
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

KERNELS: dict[str, Kernel] = {}  # every kernel by name, filled as the ops' cuda.py are imported
MOST_BLOCKS = 4096  # for a kernel whose threads step through the cells: enough to fill any GPU


class Kernel:
    """A kernel with its only signature.

    Attributes:
        name: such as "max_pool2d.pool".
        function: the plain Python function.
        types: the types of its arguments.
        threads: threads per block, (x, y).
        registers: how many a thread may use; the compile check enforces this.
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
        """`kernel[blocks](arguments)` launches it; with no blocks, nothing happens."""
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
        """Convert an argument for the device.

        Raises:
            TypeError: the argument is not of the declared type.
        """
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
    """Declare a kernel: the types of its arguments, its threads per block and its registers."""
    block = (threads,) if isinstance(threads, int) else threads

    def declare(function: Callable) -> Kernel:
        made = Kernel(function, types, block, registers)
        if KERNELS.setdefault(made.name, made) is not made:
            raise ValueError(f"two kernels {made.name}")
        return made

    return declare


def device_function(function: Callable) -> Any:
    """Declare a function that kernels call; it is compiled into each of them."""
    return cuda.jit(device=True, inline="always" if not toolkit.is_simulator() else "never")(
        function
    )


def blocks(cells: int, threads: int = 256) -> int:
    """How many blocks to launch if the kernel's threads step through `cells` cells."""
    return min(-(-cells // threads), MOST_BLOCKS)


def tuple_of(count: int) -> Any:
    """The type of a tuple of `count` integers, such as a shape or strides."""
    return types.UniTuple(I, count)
