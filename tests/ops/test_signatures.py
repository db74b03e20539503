"""The implementation modules of every op export the same names with the same signatures."""

import importlib
import inspect
from pathlib import Path

import pytest

import tinymaskrcnn.ops

FOLDER = Path(tinymaskrcnn.ops.__file__).parent
OPS = sorted(path.parent.name for path in FOLDER.glob("*/reference.py"))


@pytest.mark.parametrize("op", OPS)
def test_cpu_exports_what_reference_exports(op):
    assert _exports(op, "cpu") == _exports(op, "reference")


@pytest.mark.cuda
@pytest.mark.parametrize("op", OPS)
def test_cuda_exports_what_reference_exports(op, gpu):
    for name, parameters in _exports(op, "reference").items():
        assert _exports(op, "cuda").get(name) == parameters, name


def _exports(op, backend):
    """The parameters and defaults of every public plain function that the op's files define."""
    package = f"tinymaskrcnn.ops.{op}."
    module = importlib.import_module(package + backend)
    return {
        name: [(p.name, p.default) for p in inspect.signature(function).parameters.values()]
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__.startswith(package) and not name.startswith("_")
    }
