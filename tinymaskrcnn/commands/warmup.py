"""`tinymaskrcnn warmup`: compile and keep all kernels, or remove them."""

from __future__ import annotations

import argparse
from time import perf_counter

from ..backend import HOST, NOT_COMPILED
from ..errors import InputError
from .compiling import compile_everything
from .machine import add_machine, prepare


def add(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Kernels are compiled for this machine when they are first used, and kept. This compiles "
        "all of them at once."
    )
    parser.add_argument(
        "--clear", action="store_true", help="instead remove the kept kernels of all versions"
    )
    add_machine(parser)


def run(options: argparse.Namespace) -> int:
    if HOST == "reference":
        raise InputError(f"warmup: {NOT_COMPILED}, so nothing can be compiled")
    from .. import jit  # late: it needs Numba

    if options.clear:
        count, folder = jit.kernel_cache.clear()
        print(f"removed {count} compiled kernels from {folder}")
        return 0
    prepare(options)
    start = perf_counter()
    compile_everything()
    print(f"every kernel is compiled ({perf_counter() - start:.0f} s)")
    return 0
