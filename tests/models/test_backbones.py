"""Backbones and the pyramid: shapes, strides, torchvision's names, frozen layers, other inputs."""

import numpy as np
import pytest

from tinymaskrcnn.autograd import no_grad
from tinymaskrcnn.models.builders import BUILDERS, maskrcnn_resnet50_fpn
from tinymaskrcnn.models.fpn import BackboneWithFPN, FeaturePyramid
from tinymaskrcnn.models.resnet import DEPTHS, ResNet, norm_maker, resnet
from tinymaskrcnn.models.vgg import VGG16
from tinymaskrcnn.tensor import Tensor


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def small(rng, norm="batch", in_channels=3, bottleneck=False, stem="3x3"):
    return ResNet(
        (1, 1, 1, 1), bottleneck, norm_maker(norm, 1e-5), in_channels, (4, 8, 8, 16), stem, rng=rng
    )


@pytest.mark.parametrize("norm", ["frozen", "batch", "group"])
@pytest.mark.parametrize("in_channels", [1, 3, 5])
@pytest.mark.parametrize("stem", ["3x3", "7x7"])
def test_strides_are_4_8_16_32(backend, rng, norm, in_channels, stem):
    body = small(rng, norm, in_channels, stem=stem)
    maps = body(Tensor(rng.random((2, 64, 96, in_channels), np.float32)))
    assert [m.shape for m in maps] == [
        (2, 64 // s, 96 // s, c) for s, c in zip((4, 8, 16, 32), body.out_channels, strict=True)
    ]


def test_every_parameter_gets_a_gradient(backend, rng):
    body = small(rng, bottleneck=True)
    model = BackboneWithFPN(body, FeaturePyramid(body.out_channels, 8, rng=rng), 8)
    levels = model(Tensor(rng.random((1, 32, 64, 3), np.float32)))
    assert [level.shape[1:3] for level in levels] == [(8, 16), (4, 8), (2, 4), (1, 2), (1, 1)]
    sum((level * level).sum() for level in levels).backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None]
    assert not missing


def test_pyramid_by_hand(backend, rng):
    """With identity laterals and no smoothing, a level is the sum of what lies above it."""
    pyramid = FeaturePyramid((1, 1), 1, rng=rng)
    for block in pyramid.inner_blocks:
        vars(block)["0"].weight.data[:] = 1
    for block in pyramid.layer_blocks:
        weight = vars(block)["0"].weight.data
        weight[:] = 0
        weight[0, 0, 1, 1] = 1
    fine = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    coarse = np.array([[100, 200], [300, 400]], np.float32).reshape(1, 2, 2, 1)
    finest, coarsest, pooled = pyramid([Tensor(fine), Tensor(coarse)])
    np.testing.assert_array_equal(coarsest.data, coarse)
    np.testing.assert_array_equal(finest.data, fine + coarse.repeat(2, 1).repeat(2, 2))
    np.testing.assert_array_equal(pooled.data, coarse[:, ::2, ::2])


def test_names_and_sizes_are_torchvisions(rng):
    state = resnet("resnet50", norm_maker("frozen", 0.0), rng=rng).state_dict()
    assert len(state) == 5 + 240 + 20
    convolutions = sum(v.size for v in state.values() if v.ndim == 4)
    assert convolutions == 23_454_912
    assert state["layer3.0.downsample.0.weight"].shape == (1024, 512, 1, 1)
    assert state["layer4.2.conv2.weight"].shape == (512, 512, 3, 3)
    assert state["layer1.0.bn3.running_var"].shape == (256,)
    names = list(VGG16(rng=rng).state_dict())
    assert names[:4] == [
        "features.0.weight",
        "features.0.bias",
        "features.2.weight",
        "features.2.bias",
    ]
    assert len(names) == 26
    assert names[-1] == "features.28.bias"


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_the_five_maps_of_an_image_whose_sides_do_not_divide(name):
    model = BUILDERS[f"maskrcnn_{name}_fpn"](num_classes=2)
    with no_grad():
        maps = model.backbone(Tensor(np.zeros((1, 300, 300, 3), np.float32)))
    assert [m.shape for m in maps] == [(1, n, n, 256) for n in (75, 38, 19, 10, 5)]


@pytest.mark.parametrize(("trained", "kept"), [(0, 53), (1, 43), (2, 24), (3, 11), (4, 1), (5, 0)])
def test_the_first_convolutions_stay_as_they_are(trained, kept):
    """As many as in torchvision; everything behind them trains."""
    model = maskrcnn_resnet50_fpn(num_classes=2, trainable_backbone_layers=trained)
    flags = [parameter.requires_grad for _, parameter in model.backbone.named_parameters()]
    assert flags == [False] * kept + [True] * (len(flags) - kept)


def test_all_depths_are_built(rng):
    for name, (blocks, bottleneck) in DEPTHS.items():
        body = resnet(name, norm_maker("frozen", 0.0), rng=rng)
        count = sum(n.endswith("conv1.weight") for n, _ in body.named_parameters())
        assert count == 1 + sum(blocks)
        assert body.out_channels[-1] == (2048 if bottleneck else 512)


def test_the_seed_decides_the_weights():
    one, same, other = (small(np.random.default_rng(s)).state_dict() for s in (1, 1, 2))
    assert all(np.array_equal(one[k], same[k]) for k in one)
    assert not np.array_equal(one["conv1.weight"], other["conv1.weight"])


def test_inference_agrees_with_training_form_in_eval(backend, rng):
    body = small(rng, "batch")
    x = Tensor(rng.random((2, 32, 32, 3), np.float32))
    body(x)  # moves the running statistics
    body.eval()
    apart = body(x)
    with no_grad():
        folded = body(x)
    for a, b in zip(apart, folded, strict=True):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-4, atol=1e-5)


def test_errors(rng):
    with pytest.raises(ValueError, match="resnet18"):
        resnet("resnet19", norm_maker("frozen", 0.0), rng=rng)
    with pytest.raises(ValueError, match="'layer'"):
        norm_maker("layer", 0.0)
