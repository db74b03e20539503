"""What every command does before its work: threads, device, and a word about compiling."""

from __future__ import annotations

import argparse
import logging

from .. import jit
from ..backend import check_device
from ..errors import InputError

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
    if options.threads is not None:
        try:
            jit.set_threads(options.threads)
        except ValueError as problem:
            raise InputError(f"--{problem}") from problem
    if jit.cache_is_cold():
        logger.info("compiling the kernels for this machine, once; this takes about a minute")
