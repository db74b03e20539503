"""The compiled kernels of an operation, for lessons: to read, and with Numba to run."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import types
from pathlib import Path
from typing import Any

import tinymaskrcnn


def cpu_kernels(op: str) -> Any:
    """The module cpu of an operation. Without Numba its functions can only be read; those that
    reference.py has too then run as they are there.

    Args:
        op: such as "box_iou", a folder of `tinymaskrcnn/ops`.
    """
    package = f"tinymaskrcnn.ops.{op}"
    if importlib.util.find_spec("numba"):
        return importlib.import_module(f"{package}.cpu")
    reference = importlib.import_module(f"{package}.reference")
    folder = Path(tinymaskrcnn.__file__).parent / "ops" / op
    path = next(p for p in (folder / "cpu.py", folder / "cpu/__init__.py") if p.exists())
    module = types.ModuleType(f"{package}.cpu, run by reference")
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            node.decorator_list = []
            tree = ast.Module([_future(), node], [])
            code = compile(ast.fix_missing_locations(tree), str(path), "exec")
            exec(code, vars(module))
    for name, function in vars(reference).items():
        text = getattr(module, name, None)
        if isinstance(function, types.FunctionType) and text:
            setattr(module, name, _runs_as(function, text))
    return module


def _future() -> ast.stmt:
    return ast.parse("from __future__ import annotations").body[0]


def _runs_as(function: Any, text: Any) -> Any:
    """A function to run; whoever shows it sees the text of the other."""

    @functools.wraps(text)
    def run(*arguments: Any, **settings: Any) -> Any:
        return function(*arguments, **settings)

    return run
