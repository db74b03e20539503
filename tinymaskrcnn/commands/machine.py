"""What a command computes with: threads, a device and compiled kernels.

Under MPI the ranks of a machine share its threads, and one of them compiles.
"""

from __future__ import annotations

import argparse
import logging

from ..backend import HOST, check_device
from ..training.distributed import MPIGroup, world
from .compiling import compile_everything

logger = logging.getLogger(__name__)


def add_machine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="CPU threads (default: all, and fewer while other programs need the cores)",
    )
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="where to compute (default: cpu)"
    )


def prepare(options: argparse.Namespace) -> None:
    """Apply --threads and --device, and say so if kernels are going to be compiled first.

    Raises:
        InputError: this machine has no such device, or not so many threads.
    """
    check_device(options.device)
    group = world()
    if HOST == "reference" and options.device == "cpu":
        return  # NumPy has threads of its own
    from .. import jit  # late: it needs Numba

    if options.threads is not None:
        jit.set_threads(options.threads)
    elif isinstance(group, MPIGroup):
        jit.set_threads(max(1, jit.max_threads() // group.local.size))
    cold = HOST == "cpu" and jit.kernel_cache.is_cold()
    if cold and jit.kernel_cache.is_writable():
        logger.info("compiling the kernels for this machine, once; this takes about a minute")
    if isinstance(group, MPIGroup):
        group.first_here(compile_everything if cold else lambda: None)
