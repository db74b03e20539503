"""The operations on whole maps against torch's recorded results and gradients: the outside oracle.

golden/record_dense_ops.py records them; every case in its file is one test on each backend.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from tinymaskrcnn import functional as F
from tinymaskrcnn.ops.conv2d.winograd import winograd
from tinymaskrcnn.tensor import Tensor

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "dense_ops.npz")
CASES = sorted({key.split("/")[0] for key in GOLDEN.files})
CONSTANTS = ("labels", "target", "targets", "running_mean", "running_var")


def recorded(case):
    prefix = f"{case}/"
    return {k.removeprefix(prefix): GOLDEN[k] for k in GOLDEN.files if k.startswith(prefix)}


def assert_close(actual, expected, tolerance, what):
    """Each value may differ by a share of the largest expected value."""
    scale = max(np.abs(expected).max(initial=0), 1e-6)
    assert actual.shape == expected.shape, what
    assert actual.dtype == expected.dtype, what
    assert np.abs(actual - expected).max(initial=0) <= tolerance * scale, what


def run(case):
    """(name, result, expected) of the output, the gradients and the running statistics."""
    record = recorded(case)
    about = json.loads(str(record.pop("about")))
    given = {k: v.copy() for k, v in record.items() if not k.startswith(("y", "gradient", "new"))}
    arguments = {k: v if k in CONSTANTS else Tensor(v, True) for k, v in given.items()}
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in about["settings"].items()}
    y = getattr(F, about["operation"])(**arguments, **settings)
    y.backward(record["gradient_y"])
    yield "y", y.data, record["y"]
    for name, argument in arguments.items():
        if isinstance(argument, Tensor) and f"gradient_{name}" in record:
            yield f"gradient of {name}", argument.grad, record[f"gradient_{name}"]
        if name.startswith("running") and about["settings"].get("training"):
            yield f"new {name}", argument, record[f"new_{name}"]


@pytest.mark.parametrize("case", CASES)
def test_torchs_results_and_gradients(case, backend):
    with winograd(0):
        for what, actual, expected in run(case):
            assert_close(actual, expected, 2e-6, what)


@pytest.mark.parametrize("size", [2, 4])
def test_winograd(size):
    """F(4x4) is faster but less exact: it loses a digit and a half."""
    with winograd(size):
        for what, actual, expected in run("conv2d_3x3"):
            assert_close(actual, expected, 3e-5, what)
