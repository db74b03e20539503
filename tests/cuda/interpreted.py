"""A device with NumPy's memory, which interprets the kernels' PTX.

Everything but the driver runs on it: the ops' host code, the pool, the checked launches, and the
kernels as compiled.
"""

from functools import cache

import numpy as np

from .compiling import ptx_of
from .interpreter import Program, launch

CANARY = 0xFF  # fresh memory is NaN (or -1), so that a cell that nobody writes is noticed


class InterpretedDevice:
    """A tinymaskrcnn.gpu.device.Device."""

    def __init__(self, capability=(8, 0)):
        self.capability = capability
        self.launched = {}  # how often each kernel ran, by its name

    def allocate(self, size):
        return np.full(size, CANARY, np.uint8)

    def view(self, block, start, dtype, shape):
        size = int(np.prod(shape)) * dtype.itemsize
        return block[start : start + size].view(dtype).reshape(shape)

    def upload(self, view, host):
        view[...] = host

    def download(self, view, host):
        host[...] = view

    def launch(self, kernel, grid, arguments):
        self.launched[kernel.name] = self.launched.get(kernel.name, 0) + 1
        launch(_program(kernel, self.capability), grid, kernel.threads, arguments)


@cache
def _program(kernel, capability):
    return Program(ptx_of(kernel, capability))
