"""`tinymaskrcnn warmup`: use every kernel once, so that it is compiled and kept; or remove them."""

from __future__ import annotations

import argparse
from time import perf_counter

from .. import jit
from .machine import compile_everything, prepare


def run(options: argparse.Namespace) -> int:
    if options.clear:
        count, folder = jit.kernel_cache.clear()
        print(f"removed {count} compiled kernels from {folder}")
        return 0
    prepare(options)
    start = perf_counter()
    compile_everything()
    print(f"every kernel is compiled ({perf_counter() - start:.0f} s)")
    return 0
