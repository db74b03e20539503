"""detectron2's weights: its answers from its files, and which files are refused.

The golden answers are detectron2's own (tests/golden/record_detectron2.py); the comparison with
detectron2 where it is installed is in tests/parity/test_detectron2.py.
"""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from tests.golden.seeded import (
    DETECTRON2,
    DETECTRON2_PICTURE,
    Busy,
    detectron2_weights,
    seeded_picture,
)
from tests.parity.matching import match
from tinymaskrcnn.errors import InputError
from tinymaskrcnn.models.detectron2 import DIALECT, detectron2_config
from tinymaskrcnn.models.pretrained import load_model
from tinymaskrcnn.ops.conv2d.winograd import winograd

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "detectron2.npz")
SHAPES = {name: tuple(shape) for name, shape in json.loads(str(GOLDEN["shapes"])).items()}


def names_only(changes=(), without=None):
    """R-50-FPN's names and shapes with arrays that take no memory."""
    shapes = SHAPES | dict(changes)
    return {
        name: np.broadcast_to(np.float32(0), shape)
        for name, shape in shapes.items()
        if without is None or without not in name
    }


@pytest.fixture(scope="module")
def model_zoo_file(tmp_path_factory):
    busy = Busy(**{name: GOLDEN[f"busy/{name}"] for name in Busy._fields})
    path = tmp_path_factory.mktemp("weights") / "model_final.pkl"
    saved = {"model": detectron2_weights(SHAPES, busy), "__author__": "test"}
    with path.open("wb") as file:
        pickle.dump(saved | {"matching_heuristics": True}, file, protocol=4)
    yield path
    path.unlink()


def test_a_model_zoo_file_gives_detectron2s_answers(model_zoo_file):
    model = load_model(model_zoo_file, **DETECTRON2)
    assert model.classes[:2] == ["person", "bicycle"]
    assert len(model.classes) == 80
    height, width, _ = DETECTRON2_PICTURE
    expected = {key: GOLDEN[f"found/{key}"] for key in ("boxes", "labels", "scores")}
    count = len(expected["boxes"])
    bits = np.unpackbits(GOLDEN["found/masks"], count=count * height * width)
    expected["masks"] = bits.reshape(count, 1, height, width)
    with winograd(0):
        (found,) = model.detect([seeded_picture(*DETECTRON2_PICTURE)])
    ours = found.as_dict() | {"masks": found.binary_masks()[:, None]}
    matched = match(ours, expected, 1e-4)
    assert len(ours["boxes"]) == count
    assert not matched.lonely
    a, b = np.array(matched.pairs).T
    probabilities = GOLDEN["found/probabilities"][b].astype(np.float32)
    assert np.abs(found.mask_probabilities[a] - probabilities).max() < 1e-3  # stored as halves
    assert (ours["masks"][a] != expected["masks"][b]).mean() < 1e-5
