"""Where the tests marked `cuda` run; decided before Numba is imported.

- "simulator" if NUMBA_ENABLE_CUDASIM is set: Numba's own, with one Python thread per GPU thread;
- "gpu" if there is one;
- "compiled" otherwise: kernels as compiled for sm_80, in the interpreter of tests/cuda;
- None if numba-cuda or its compiler is missing.
"""

import ctypes
import importlib.util
import os
from functools import cache


@cache
def mode():
    if importlib.util.find_spec("numba_cuda") is None:
        return None
    if os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0"):
        return "simulator"
    if _has_gpu():
        return "gpu"
    return "compiled" if has_compiler() else None


def _has_gpu():
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int()
    return (
        driver.cuInit(0) == 0
        and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
        and count.value > 0
    )


@cache
def has_compiler():
    """Whether NVVM, NVRTC and nvJitLink can be loaded; none of them needs a driver."""
    try:
        from cuda.pathfinder import load_nvidia_dynamic_lib

        for name in ("nvvm", "nvrtc", "nvJitLink"):
            load_nvidia_dynamic_lib(name)
    except Exception:
        return False
    return True
