"""Live comparison with torchvision at a small size; the report (`python -m tests.parity`) does it
at the real one.
"""

import numpy as np
import pytest

from tinymaskrcnn.models.builders import BUILDERS
from tinymaskrcnn.ops.conv2d.winograd import winograd

from ..golden.seeded import seeded_picture, seeded_target
from .difference import UNITS, difference
from .stages import STAGES, run_stage
from .training import EVERYTHING, relative_differences, to_double, train_step

pytestmark = pytest.mark.peer
pytest.importorskip("torchvision")

V1, V2 = "maskrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_v2"
SIZES = {"min_size": 160, "max_size": 224}
PICTURES = [seeded_picture(150, 200, 1), seeded_picture(160, 140, 2)]


@pytest.fixture(scope="module", params=[V1, V2])
def pair(request):
    """A builder's name and torchvision's model, busy."""
    from . import peer

    return request.param, peer.busy(peer.build(request.param, 11, **SIZES), PICTURES)


@pytest.mark.parametrize("size", [0, 2])
def test_every_stage(pair, size):
    """Within the limits with direct sums and with F(2x2). F(4x4), the fast default, is at 1.5e-4
    on the body's maps where 1e-4 is asked; what it finds is compared end to end.
    """
    from . import peer

    arch, theirs = pair
    ours = BUILDERS[arch](11, **SIZES).eval()
    ours.load_state_dict(peer.state_of(theirs))
    given, expected = peer.trace(theirs.eval(), PICTURES)
    with winograd(size):
        for stage in STAGES:
            for name, value in run_stage(stage, ours, given).items():
                found = difference(name, value, expected[name])
                assert found.within, f"{stage}, {name}: {found}"
    assert set(expected) >= set(UNITS)


@pytest.mark.soak
def test_gradients_in_double(pair):
    from . import peer

    arch, theirs = pair
    settings = SIZES | EVERYTHING | {"rpn_post_nms_top_n_train": 20}
    ours = BUILDERS[arch](11, **settings).train()
    ours.load_state_dict(peer.state_of(theirs))
    to_double(ours)
    targets = [seeded_target(picture, 11, 3, i) for i, picture in enumerate(PICTURES)]
    batch, targets = ours.transform(PICTURES, targets)
    images = batch.tensor.astype(np.float64)
    targets = [t | {"boxes": t["boxes"].astype(np.float64)} for t in targets]
    proposals = [t["boxes"] for t in targets]
    _, losses, gradients = peer.train_step(
        theirs.double().train(), images, batch.sizes, targets, proposals
    )
    own_losses, own = train_step(ours, images, batch.sizes, targets, proposals)
    assert own_losses == pytest.approx(losses, rel=1e-6)
    assert max(relative_differences(own, gradients).values()) < 1e-6
