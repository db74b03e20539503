"""Numba's simulator as a device that knows its limits.

It runs a Python thread for each GPU thread, and a tile of a product takes it most of a second. A
test that asks for more than a little is skipped there: it runs on compiled kernels.
"""

from math import prod

import pytest

from tests.benchmarks.gpu_estimate import executed
from tinymaskrcnn.gpu.device import NumbaDevice

MOST_THREADS = 6_000  # of a test
MOST_STEPS = 2  # of 64 x 64 x 16 multiplications, of a test
STEP = 2 * 64 * 64 * 16


class SimulatedDevice(NumbaDevice):
    """A test may lift the limit by `device.limited = False`."""

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
