"""Training steps against torchvision's: losses, every gradient, running statistics; v1's frozen
norms and v2's own. training.npz, recorded by record_model.py.
"""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tinymaskrcnn.models.builders import maskrcnn_resnet50_fpn_v2
from tinymaskrcnn.ops.conv2d.winograd import winograd

from ..parity.training import fingerprint, to_double, train_step
from .seeded import seeded_weights
from .small import CLASSES, EVERYTHING, small_model

V1, V2 = "small", "maskrcnn_resnet50_fpn_v2"  # frozen norms, and norms that train
GOLDEN = np.load(Path(__file__).with_name("training.npz"))


def recorded(prefix):
    return {k.removeprefix(prefix): GOLDEN[k] for k in GOLDEN.files if k.startswith(prefix)}


@cache
def step(arch, dtype):
    """The model after one step from the recorded batch, its losses and gradients."""
    model = small_model() if arch == V1 else maskrcnn_resnet50_fpn_v2(CLASSES, **EVERYTHING)
    state = seeded_weights({k: v.shape for k, v in model.state_dict().items()}, 0)
    model.load_state_dict(state | recorded(f"{arch}/weight/"))
    if dtype == "float64":
        to_double(model)
    record = recorded(f"{arch}/")
    targets = [
        {
            "boxes": record[f"target/boxes.{i}"].astype(dtype),
            "labels": record[f"target/labels.{i}"],
            "masks": record[f"target/masks.{i}"],
        }
        for i in range(2)
    ]
    proposals = [record[f"proposals.{i}"].astype(dtype) for i in range(2)]
    batch = record["batch"].astype(dtype)
    with winograd(0):
        losses, gradients = train_step(
            model.train(), batch, [batch.shape[1:3]] * 2, targets, proposals
        )
    return model, losses, gradients


def gradient_errors(arch, gradients, dtype):
    """|difference| / |gradient| of every parameter, by the fingerprints."""
    expected = recorded(f"{arch}/{dtype}/gradient/")
    assert gradients.keys() == expected.keys()
    return np.array(
        [
            np.abs(fingerprint(name, gradient) - expected[name]).max() / expected[name][0]
            for name, gradient in gradients.items()
        ]
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_five_losses(dtype):
    _, losses, _ = step(V1, dtype)
    expected = recorded(f"{V1}/{dtype}/loss/")
    assert losses.keys() == expected.keys()
    for name, value in losses.items():
        assert value == pytest.approx(float(expected[name]), rel=1e-5), name


def test_the_five_losses_with_norms_that_train():
    _, losses, _ = step(V2, "float32")
    exact, single = (recorded(f"{V2}/{dtype}/loss/") for dtype in ("float64", "float32"))
    assert losses.keys() == exact.keys()
    torchs = max(abs(single[name] / exact[name] - 1) for name in exact)
    for name, value in losses.items():
        assert value == pytest.approx(float(exact[name]), rel=1e-5 + 2 * torchs), name


def test_gradients_in_double_precision():
    _, _, gradients = step(V1, "float64")
    assert gradient_errors(V1, gradients, "float64").max() < 1e-6


def test_gradients_with_frozen_norms():
    """Measured from torch in double: a ReLU that rounding turns moves a gradient by a per cent, and
    in torch's own float32 step one is turned.
    """
    _, _, gradients = step(V1, "float32")
    errors = gradient_errors(V1, gradients, "float64")
    assert np.median(errors) < 1e-4
    assert errors.max() < 5e-3


def test_gradients_with_norms_that_train():
    """Statistics of a few pixels magnify rounding, in torch too: by how much shows its own
    difference between the precisions.
    """
    _, _, gradients = step(V2, "float32")
    errors = gradient_errors(V2, gradients, "float64")
    exact, single = (recorded(f"{V2}/{dtype}/gradient/") for dtype in ("float64", "float32"))
    torchs = np.array([np.abs(single[k] - exact[k]).max() / exact[k][0] for k in exact])
    assert np.median(errors) < 2 * np.median(torchs)
    assert errors.max() < 2 * torchs.max()


def test_running_statistics():
    model, _, _ = step(V2, "float32")
    expected = recorded(f"{V2}/float32/running/")
    state = {k: v for k, v in model.state_dict().items() if "running" in k}
    assert state.keys() == expected.keys()
    for key, value in state.items():
        error = np.abs(fingerprint(key, value) - expected[key]).max()
        assert error < 1e-4 * expected[key][0], key
