"""Find the package numba-cuda and a GPU, or explain what is missing.

Numba's built-in CUDA target is frozen and cannot compile device functions. numba-cuda replaces it
under the same name, `numba.cuda`; only the replacement works here.
"""

from __future__ import annotations

from typing import Any

from ..errors import InputError

INSTALL = "pip install 'tinymaskrcnn[cuda]' (or [cuda12] for GPUs before Turing)"


def load() -> Any:
    """Import numba-cuda's module numba.cuda.

    Raises:
        InputError: numba-cuda is not installed.
    """
    from .. import jit  # noqa: F401  first: it sets what Numba reads when it is imported

    try:
        from numba import cuda
    except ImportError as problem:
        raise InputError(
            f"device cuda: numba-cuda cannot be loaded: {problem}; {INSTALL}"
        ) from None
    if getattr(cuda, "implementation", None) != "NVIDIA":
        raise InputError(f"device cuda: the package numba-cuda is not installed; {INSTALL}")
    return cuda


def is_simulator() -> bool:
    """Whether kernels run in Numba's Python simulator (NUMBA_ENABLE_CUDASIM=1)."""
    from numba import config

    return bool(getattr(config, "ENABLE_CUDASIM", 0))


def require_device() -> Any:
    """Import numba.cuda and make sure that there is a GPU (or the simulator).

    Raises:
        InputError: numba-cuda is not installed, or it finds no usable GPU.
    """
    cuda = load()
    if not is_simulator() and not cuda.is_available():
        reason = str(cuda.cuda_error() or "no GPU was found").strip().splitlines()[-1]
        raise InputError(f"device cuda: no usable NVIDIA GPU: {reason}")
    return cuda
