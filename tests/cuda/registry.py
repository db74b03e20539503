"""Every kernel of the project, by name."""

import importlib
from functools import cache
from pathlib import Path

import tinymaskrcnn.ops


@cache
def all_kernels():
    from tinymaskrcnn.gpu.launch import KERNELS

    for path in sorted(Path(tinymaskrcnn.ops.__file__).parent.glob("*/cuda.py")):
        importlib.import_module(f"tinymaskrcnn.ops.{path.parent.name}.cuda")
    return KERNELS
