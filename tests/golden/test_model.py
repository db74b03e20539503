"""Every stage of a small Mask R-CNN against torchvision's, each fed with torchvision's own inputs,
then the whole: model.npz, recorded by record_model.py.
"""

from collections import defaultdict
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tinymaskrcnn.ops.conv2d.winograd import winograd

from ..parity.difference import difference
from ..parity.matching import match
from ..parity.stages import STAGES, run_stage
from .seeded import seeded_weights
from .small import CLASSES, small_model

GOLDEN = np.load(Path(__file__).with_name("model.npz"))


@cache
def recorded(prefix):
    """Recorded values by name; numbered names as lists; halves as float32."""
    found, lists = {}, defaultdict(list)
    for key in GOLDEN.files:
        if key.startswith(prefix):
            value = GOLDEN[key]
            value = value.astype(np.float32) if value.dtype == np.float16 else value
            name, _, number = key.removeprefix(prefix).partition(".")
            if number:
                lists[name].append(value)
            else:
                found[name] = value
    return found | lists


@cache
def given():
    """What every stage is given: recorded in half precision, or what the stage before gave."""
    images = [image.astype(np.float32) / np.float32(255) for image in recorded("images")[""]]
    return {"images": images} | recorded("expected/") | recorded("given/")


@cache
def model():
    model = small_model()
    state = seeded_weights({k: v.shape for k, v in model.state_dict().items()}, 0)
    prefix = "weight/"
    changed = {k.removeprefix(prefix): GOLDEN[k] for k in GOLDEN.files if k.startswith(prefix)}
    assert changed.keys() < state.keys()
    model.load_state_dict(state | changed)
    return model.eval()


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage(stage, backend):
    with winograd(0):
        results = run_stage(stage, model(), given())
    for name, result in results.items():
        found = difference(name, result, recorded("expected/")[name])
        assert found.within, f"{name}: {found}"


@pytest.mark.parametrize("stage", ["backbone", "pyramid", "RPN head", "mask head"])
@pytest.mark.parametrize("size", [2, 4])
def test_stages_with_winograd(stage, size):
    with winograd(size):
        results = run_stage(stage, model(), given())
    for name, result in results.items():
        found = difference(name, result, recorded("expected/")[name])
        assert found.within, f"{name}: {found}"


def test_the_recorded_detections_are_busy():
    """Otherwise the tests above would say little."""
    expected = recorded("expected/")
    assert all(len(boxes) == 10 for boxes in expected["boxes"])
    assert len(np.unique(np.concatenate(expected["labels"]))) == CLASSES - 1
    assert len(np.unique(expected["levels"])) > 1
    assert all(0 < (masks > 0.5).mean() < 0.9 for masks in expected["masks"])


@pytest.mark.parametrize(("size", "score"), [(0, 1e-4), (4, 1e-3)])
def test_end_to_end(size, score):
    prediction = recorded("prediction/")
    for i, image in enumerate(given()["images"]):
        expected = {key: prediction[key][i] for key in ("boxes", "labels", "scores", "masks")}
        with winograd(size):
            (found,) = model()([image])
        matched = match(found, expected, score)
        assert matched.lonely == [] and len(found["boxes"]) == len(expected["boxes"])
