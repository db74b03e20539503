"""Live comparison with detectron2, where it is built from source, at a small size."""

import pytest

from tinymaskrcnn.ops.conv2d.winograd import winograd
from tinymaskrcnn.weights import save_weights

from ..golden.seeded import DETECTRON2, DETECTRON2_PICTURE, seeded_picture
from .detectron2_stages import LIMITS, detections, ours, stages

pytestmark = pytest.mark.peer
pytest.importorskip("detectron2")

IMAGE = seeded_picture(*DETECTRON2_PICTURE)


@pytest.fixture(scope="module")
def pair():
    """detectron2's model, busy, how it resizes images, and ours with its weights."""
    from . import detectron2_peer as peer

    theirs, resize = peer.build(**DETECTRON2)
    peer.busy(theirs, IMAGE, resize)
    return theirs, resize, ours(theirs, **DETECTRON2)


def test_every_stage(pair):
    from . import detectron2_peer as peer

    theirs, resize, model = pair
    with winograd(0):
        found = stages(model, IMAGE, peer.trace(theirs, IMAGE, resize))
    assert found.keys() == LIMITS.keys()
    assert {name: value for name, value in found.items() if value > LIMITS[name]} == {}


def test_detectron2_loads_what_we_save_and_finds_the_same(pair, tmp_path):
    from . import detectron2_peer as peer

    theirs, resize, model = pair
    save_weights(tmp_path / "model_final.pkl", model.state_dict(), dialect="detectron2")
    again, _ = peer.build(**DETECTRON2)
    peer.load(again, tmp_path / "model_final.pkl")
    own, loaded = theirs.state_dict(), again.state_dict()
    assert all((own[name] == loaded[name]).all() for name in own)
    expected = peer.predict(again, IMAGE, resize)
    with winograd(0):
        assert not detections(model, IMAGE, expected).lonely
