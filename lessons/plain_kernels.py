"""The package's CUDA kernels as plain Python, for lessons: you need no CUDA package to read or run
them.

A cuda.py can be imported only with numba-cuda, so `kernels_of` reads its text instead. The
functions are the file's own, line by line, with two changes. A kernel takes `cuda` as its first
argument. And each `cuda.syncthreads()` becomes a `yield`, so that the caller decides when threads
meet (a call of a function with barriers becomes a `yield from`). The caller is in lesson 18.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

import tinymaskrcnn

_PACKAGE = Path(tinymaskrcnn.__file__).parent
_NUMBA = importlib.util.find_spec("numba") is not None  # else its scalars are NumPy's
_FUTURE = importlib.import_module("__future__").annotations.compiler_flag


def kernels_of(module: str, without_barrier: int | None = None) -> SimpleNamespace:
    """The functions of a cuda.py, by name; `show` finds their source.

    Args:
        module: such as "ops.box_iou.cuda" or "ops.cuda_gemm".
        without_barrier: leave out one of the file's `cuda.syncthreads()`, counted from 0 in reading
            order, to see what it is good for.

    Raises:
        LookupError: there is no such file, or no such barrier.
    """
    return SimpleNamespace(**_definitions(module, without_barrier))


@cache
def _definitions(module: str, without_barrier: int | None = None) -> dict[str, Any]:
    tree, path = changed_tree(module, _Barriers(without_barrier, _with_barriers(module)))
    names: dict[str, Any] = {"__name__": f"{__name__}.{module}"}
    for node in tree.body:
        imported = _absolute(node, module) if isinstance(node, ast.ImportFrom) else ""
        if imported == "gpu.launch":
            names |= _LAUNCH
        elif imported == "gpu.scalars" or ".cuda" in imported:
            there = _definitions(imported)
            names |= {alias.asname or alias.name: there[alias.name] for alias in node.names}
        elif isinstance(node, ast.If):  # scalars.py: the simulator's functions come first
            _run(node.body, path, names)
        elif imported and all(alias.name.startswith("cuda") for alias in node.names):
            names |= {a.name: kernels_of(f"{imported}.{a.name}") for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "numba" and not _NUMBA:
            names |= {alias.name: getattr(np, alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            node.module, node.level = f"tinymaskrcnn.{imported}", 0
            _run([node], path, names)
        else:
            _run([node], path, names)
    return names


def changed_tree(module: str, change: ast.NodeTransformer) -> tuple[ast.Module, Path]:
    """The syntax tree of one of the package's modules after a change, and its file."""
    path = _PACKAGE.joinpath(*module.split(".")).with_suffix(".py")
    if not path.exists():
        raise LookupError(f"no module {module!r} in the package: no file {path}")
    tree = change.visit(ast.parse(path.read_text(encoding="utf-8"), str(path)))
    if getattr(change, "missing", False):
        raise LookupError(f"{path.name} has no barrier {change.without}")
    return ast.fix_missing_locations(tree), path


def _with_barriers(module: str) -> set[str]:
    """The names, in a module, of its own and its imported functions that have barriers."""
    tree, _ = changed_tree(module, ast.NodeTransformer())
    names = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and "cuda.syncthreads()" in ast.unparse(node):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom) and ".cuda" in (there := _absolute(node, module)):
            names |= _with_barriers(there) & {alias.name for alias in node.names}
    return names


class _Barriers(ast.NodeTransformer):
    """Turns each barrier into a `yield` and gives each kernel an argument `cuda`.

    Args:
        without: a barrier to leave out, or None.
        meeting: names of functions that have barriers.
    """

    def __init__(self, without: int | None, meeting: set[str]) -> None:
        self.without, self.meeting, self.count = without, meeting, 0

    @property
    def missing(self) -> bool:
        return self.without is not None and not 0 <= self.without < self.count

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        if any(ast.unparse(mark).startswith("kernel(") for mark in node.decorator_list):
            node.args.args.insert(0, ast.arg("cuda"))
        self.generic_visit(node)
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        if ast.unparse(node) != "cuda.syncthreads()":
            return self.generic_visit(node)
        self.count += 1
        if self.count - 1 == self.without:
            return ast.copy_location(ast.Pass(), node)
        return ast.copy_location(ast.Expr(ast.Yield()), node)

    def visit_Call(self, node: ast.Call) -> ast.Call | ast.YieldFrom:
        self.generic_visit(node)
        if not isinstance(node.func, ast.Name) or node.func.id not in self.meeting:
            return node
        return ast.copy_location(ast.YieldFrom(node), node)


def _absolute(node: ast.ImportFrom, module: str) -> str:
    """The imported module's name within the package; "" if it is not in the package."""
    if not node.level:
        return ""
    above = module.split(".")[: -node.level]
    return ".".join([*above, *filter(None, [node.module])])


def _run(nodes: list[ast.stmt], path: Path, names: dict[str, Any]) -> None:
    tree = ast.Module(nodes, [])
    exec(compile(tree, str(path), "exec", flags=_FUTURE, dont_inherit=True), names)


def _kernel(*_types: Any, threads: int | tuple[int, ...] = 256, registers: int = 48) -> Any:
    """Replaces gpu.launch.kernel: records how many threads a block has."""

    def declare(function: Callable) -> Callable:
        function.threads = (threads,) if isinstance(threads, int) else threads  # type: ignore[attr-defined]
        return function

    return declare


_LAUNCH = {  # the names that kernels import from gpu/launch.py
    **dict.fromkeys(("F", "I", "F1", "F2", "F3", "F4", "I1", "I2", "I3", "I4", "B3")),
    "kernel": _kernel,
    "device_function": lambda function: function,
    "tuple_of": lambda count: None,
    "blocks": lambda cells, threads=256: -(-cells // threads),
}
