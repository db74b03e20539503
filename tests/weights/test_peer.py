"""Live comparison with torch: its files read the same here, and it loads the files written here."""

import itertools

import numpy as np
import pytest

from tinymaskrcnn.autograd import no_grad
from tinymaskrcnn.models.builders import BUILDERS
from tinymaskrcnn.tensor import Tensor
from tinymaskrcnn.weights import WeightsError, backbone_state, load_weights, save_weights

pytestmark = pytest.mark.peer
torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_network_saved_by_torch(zipped, tmp_path):
    state = torchvision.models.resnet18(num_classes=10).state_dict()
    torch.save(state, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    read = load_weights(tmp_path / "a.pth")
    assert list(read) == list(state)
    for key, tensor in state.items():
        np.testing.assert_array_equal(read[key], tensor.numpy())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_network_saved_in_half_the_bytes(dtype, tmp_path):
    dtype = getattr(torch, dtype)
    state = torchvision.models.resnet18(num_classes=10).to(dtype).state_dict()
    torch.save(state, tmp_path / "a.pth")
    body = BUILDERS["maskrcnn_resnet18_fpn"](num_classes=2).backbone.body
    body.load_state_dict(backbone_state(load_weights(tmp_path / "a.pth"), "resnet"))
    for key, array in body.state_dict().items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, state[key].float().numpy())


@pytest.mark.parametrize("name", ["maskrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_v2"])
def test_weights_move_both_ways(name, tmp_path):
    from ..parity import peer

    safetensors_torch = pytest.importorskip("safetensors.torch")
    ours, theirs = BUILDERS[name](num_classes=5, seed=3), peer.build(name, 5)
    save_weights(tmp_path / "a.safetensors", ours.state_dict())
    theirs.load_state_dict(safetensors_torch.load_file(tmp_path / "a.safetensors"), strict=True)
    torch.save(theirs.state_dict(), tmp_path / "a.pth")
    back = BUILDERS[name](num_classes=5, seed=4)
    back.load_state_dict(load_weights(tmp_path / "a.pth"))
    for key, array in back.state_dict().items():
        np.testing.assert_array_equal(array, ours.state_dict()[key])


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101"])
def test_classification_checkpoints_of_resnets(name, tmp_path):
    """Loaded as the README says, the backbone gives the maps of torchvision's classifier."""
    theirs = getattr(torchvision.models, name)(weights=None).eval()
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    torch.save(theirs.state_dict(), tmp_path / "a.pth")
    model = BUILDERS[f"maskrcnn_{name}_fpn"](num_classes=2, norm_eps=1e-5)
    body = model.backbone.body
    body.load_state_dict(backbone_state(load_weights(tmp_path / "a.pth"), "resnet"))
    layers = [theirs.conv1, theirs.bn1, theirs.relu, theirs.maxpool]
    stages = [theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4]
    assert_same_maps(body, [torch.nn.Sequential(*layers, stages[0]), *stages[1:]])


def test_classification_checkpoints_of_vgg16(tmp_path):
    theirs = torchvision.models.vgg16(weights=None).eval()
    torch.save(theirs.state_dict(), tmp_path / "a.pth")
    body = BUILDERS["maskrcnn_vgg16_fpn"](num_classes=2).backbone.body
    body.load_state_dict(backbone_state(load_weights(tmp_path / "a.pth"), "vgg16"))
    ends = (0, 10, 17, 24, 31)  # after the pools
    assert_same_maps(body, [theirs.features[a:b] for a, b in itertools.pairwise(ends)])


def assert_same_maps(body, stages):
    image = np.random.default_rng(0).standard_normal((1, 64, 96, 3)).astype(np.float32)
    x = torch.from_numpy(image).permute(0, 3, 1, 2)
    with no_grad(), torch.no_grad():
        for found, stage in zip(body(Tensor(image)), stages, strict=True):
            x = stage(x)
            expected = x.permute(0, 2, 3, 1).numpy()
            limit = 1e-5 * np.abs(expected).max()
            np.testing.assert_allclose(found.data, expected, rtol=0, atol=limit)


def test_a_vgg16_with_norms_is_refused_by_name(tmp_path):
    torch.save(torchvision.models.vgg16_bn(weights=None).state_dict(), tmp_path / "a.pth")
    state = load_weights(tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="vgg16 with batch norms"):
        backbone_state(state, "vgg16")
