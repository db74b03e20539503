"""Live comparison with torch: what it writes is read alike, and it loads what is written here."""

import numpy as np
import pytest

from tinymaskrcnn.models.builders import maskrcnn_resnet50_fpn, maskrcnn_resnet50_fpn_v2
from tinymaskrcnn.weights import backbone_state, load_weights, save_weights

pytestmark = pytest.mark.peer
torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")


def freeze_norms(module):
    """The published v1 network has frozen norms, which torchvision builds only with weights."""
    frozen = torchvision.ops.misc.FrozenBatchNorm2d
    for name, child in module.named_children():
        if isinstance(child, torch.nn.BatchNorm2d):
            setattr(module, name, frozen(child.num_features, eps=0.0))
        else:
            freeze_norms(child)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_network_saved_by_torch(zipped, tmp_path):
    state = torchvision.models.resnet18(num_classes=10).state_dict()
    torch.save(state, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    read = load_weights(tmp_path / "a.pth")
    assert list(read) == list(state)
    for key, tensor in state.items():
        np.testing.assert_array_equal(read[key], tensor.numpy())


@pytest.mark.parametrize(
    ("builder", "name"),
    [
        (maskrcnn_resnet50_fpn, "maskrcnn_resnet50_fpn"),
        (maskrcnn_resnet50_fpn_v2, "maskrcnn_resnet50_fpn_v2"),
    ],
)
def test_weights_move_both_ways(builder, name, tmp_path):
    safetensors_torch = pytest.importorskip("safetensors.torch")
    ours = builder(num_classes=5, seed=3)
    theirs = getattr(torchvision.models.detection, name)(
        weights=None, weights_backbone=None, num_classes=5
    )
    if not name.endswith("_v2"):
        freeze_norms(theirs.backbone)
    save_weights(tmp_path / "a.safetensors", ours.state_dict())
    theirs.load_state_dict(safetensors_torch.load_file(tmp_path / "a.safetensors"), strict=True)
    torch.save(theirs.state_dict(), tmp_path / "a.pth")
    back = builder(num_classes=5, seed=4)
    back.load_state_dict(load_weights(tmp_path / "a.pth"))
    for key, array in back.state_dict().items():
        np.testing.assert_array_equal(array, ours.state_dict()[key])


@pytest.mark.parametrize(("name", "kind"), [("resnet101", "resnet"), ("vgg16", "vgg16")])
def test_classification_checkpoints(name, kind, tmp_path):
    from tinymaskrcnn.models.builders import BUILDERS

    torch.save(getattr(torchvision.models, name)().state_dict(), tmp_path / "a.pth")
    body = BUILDERS[f"maskrcnn_{name}_fpn"](num_classes=2).backbone.body
    body.load_state_dict(backbone_state(load_weights(tmp_path / "a.pth"), kind))
