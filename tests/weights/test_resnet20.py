"""A real trained network in PyTorch's oldest file format, from the file to its logits.

resnet20_cifar10/README.md says where it comes from and what is awkward about the file.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinymaskrcnn import functional as F
from tinymaskrcnn.weights import load_weights

FOLDER = Path(__file__).parent / "resnet20_cifar10"
REFERENCE = json.loads((FOLDER / "reference.json").read_text())


@pytest.fixture(scope="module")
def state():
    return load_weights(FOLDER / "resnet20-12fca82f.th")


def conv_norm(state, x, conv, norm, stride=1, residual=None):
    x = F.conv2d(x, state[f"{conv}.weight"], stride=stride, padding=1)
    names = ("weight", "bias", "running_mean", "running_var")
    return F.frozen_batch_norm(
        x, *(state[f"{norm}.{name}"] for name in names), REFERENCE["bn_eps"], residual, True
    )


def shortcut(x, channels):
    """Every second row and column, channels padded with zeros, a quarter on each side."""
    if x.shape[3] == channels:
        return x
    return np.pad(x[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (channels // 4, channels // 4)))


def resnet20(state, x):
    """Images (N, 32, 32, 3), normalised, to logits (N, 10)."""
    x = conv_norm(state, x, "conv1", "bn1").data
    for stage, channels in ((1, 16), (2, 32), (3, 64)):
        for block in range(3):
            name = f"layer{stage}.{block}"
            stride = 2 if x.shape[3] < channels else 1
            y = conv_norm(state, x, f"{name}.conv1", f"{name}.bn1", stride)
            y = conv_norm(state, y, f"{name}.conv2", f"{name}.bn2", residual=shortcut(x, channels))
            x = y.data
    return F.linear(x.mean(axis=(1, 2)), state["linear.weight"], state["linear.bias"]).data


def test_the_awkward_file_is_read(state):
    assert len(state) == 97
    assert not any(name.startswith("module.") for name in state)
    trained = [array for name, array in state.items() if "running" not in name]
    assert sum(array.size for array in trained) == 269_722


def test_logits_as_pytorchs(state, backend):
    crops = REFERENCE["crops"]
    images = np.stack([np.asarray(Image.open(FOLDER / crop["file"])) for crop in crops])
    mean, std = np.array(REFERENCE["mean"]), np.array(REFERENCE["std"])
    x = ((images[..., :3] / 255 - mean) / std).astype(np.float32)
    logits = resnet20(state, x)
    np.testing.assert_allclose(logits, [crop["logits"] for crop in crops], atol=1e-3)
    classes = [REFERENCE["classes"][i] for i in logits.argmax(axis=1)]
    assert classes == [crop["top"] for crop in crops]
