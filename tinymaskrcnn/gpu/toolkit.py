"""The package numba-cuda and the GPU: where they are asked for, and what is said where they are not
there.

Numba has a CUDA target of its own, frozen and without a compiler for device functions. numba-cuda
replaces it under the same name, `numba.cuda`; only that one will do.
"""

from __future__ import annotations

from typing import Any

from ..errors import InputError

INSTALL = "pip install 'tinymaskrcnn[cuda]' (or [cuda12] for GPUs before Turing)"


def load() -> Any:
    """The module numba.cuda of numba-cuda.

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
    """The module numba.cuda, with a GPU (or the simulator) behind it.

    Raises:
        InputError: numba-cuda is not installed, or there is no GPU that it can use.
    """
    cuda = load()
    if not is_simulator() and not cuda.is_available():
        reason = str(cuda.cuda_error() or "no GPU was found").strip().splitlines()[-1]
        raise InputError(f"device cuda: no NVIDIA GPU that can be used: {reason}")
    return cuda
