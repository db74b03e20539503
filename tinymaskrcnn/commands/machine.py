"""What every command does before its work: threads, device, and a word about compiling.

Under MPI the ranks of a machine share its threads, and one of them compiles.
"""

from __future__ import annotations

import argparse
import logging

from .. import jit
from ..backend import HOST, check_device
from ..errors import InputError
from ..training.distributed import MPIGroup, world

logger = logging.getLogger(__name__)


def prepare(options: argparse.Namespace) -> None:
    """Apply --threads and --device, and say so if kernels are going to be compiled first.

    Raises:
        InputError: this machine has no such device, or not so many threads.
    """
    try:
        check_device(options.device)
    except InputError as problem:
        raise InputError(f"--{str(problem).removeprefix('--')}") from problem
    group = world()
    if options.threads is not None:
        try:
            jit.set_threads(options.threads)
        except ValueError as problem:
            raise InputError(f"--{problem}") from problem
    elif isinstance(group, MPIGroup):
        jit.set_threads(max(1, jit.max_threads() // group.local.size))
    if HOST == "reference":
        logger.info("NUMBA_DISABLE_JIT is set: plain NumPy does the work, and takes its time")
    cold = HOST == "cpu" and jit.kernel_cache.is_cold()
    if cold and jit.kernel_cache.is_writable():
        logger.info("compiling the kernels for this machine, once; this takes about a minute")
    if isinstance(group, MPIGroup):
        group.first_here(compile_everything if cold else lambda: None)


def compile_everything() -> None:
    from .warmup import compile_inference, compile_training

    compile_training()
    compile_inference()
