"""Numba's simulator, as a device that skips tests which would take it too long.

It runs one Python thread per GPU thread; one tile of a product takes it most of a second. A larger
test is skipped here; it runs on compiled kernels.
"""

from math import prod

import pytest

from tests.benchmarks.gpu_estimate import executed
from tinymaskrcnn.gpu.device import NumbaDevice

MOST_THREADS = 6_000  # per test
MOST_STEPS = 2  # per test, of 64 x 64 x 16 multiplications
STEP = 2 * 64 * 64 * 16


class SimulatedDevice(NumbaDevice):
    """A test may remove the limit with `device.limited = False`."""

    def __init__(self):
        super().__init__()
        self.limited, self.threads, self.flops = True, 0, 0

    def launch(self, kernel, grid, arguments):
        self.threads += prod(grid) * prod(kernel.threads)
        arrays = [getattr(a, "_ary", a) for a in arguments]
        self.flops += executed(kernel.name, grid, arrays)[0]
        too_much = self.threads > MOST_THREADS or self.flops > MOST_STEPS * STEP
        if self.limited and too_much:
            pytest.skip("too large for the simulator")
        super().launch(kernel, grid, arguments)
