"""The whole model on the device and on the CPU agree: a training step, a prediction."""

import numpy as np
import pytest

from tinymaskrcnn.backend import device_of
from tinymaskrcnn.errors import InputError
from tinymaskrcnn.gpu.array import GpuArray
from tinymaskrcnn.models.builders import maskrcnn_tiny
from tinymaskrcnn.optim import SGD, Muon, grad_norm
from tinymaskrcnn.training.ema import MovingAverage

from .modes import mode

pytestmark = pytest.mark.cuda

SMALLEST = {  # the smallest numbers that still give every part something to do
    "widths": (4, 4, 4, 4),
    "fpn_channels": 4,
    "box_channels": (4,),
    "representation": 8,
    "mask_channels": (4,),
    "anchor_sizes": (8, 16, 32, 64, 128),
    "min_size": 32,
    "max_size": 64,
    "rpn_pre_nms_top_n_train": 8,
    "rpn_post_nms_top_n_train": 4,
    "rpn_pre_nms_top_n_test": 8,
    "rpn_post_nms_top_n_test": 4,
    "rpn_batch_size_per_image": 16,
    "box_batch_size_per_image": 4,
    "box_detections_per_img": 2,
    "box_score_thresh": 0.0,
}


def example(seed=0, height=28, width=60):
    """An image with two rectangles, and its target."""
    rng = np.random.default_rng(seed)
    image = rng.random((3, height, width)).astype(np.float32)
    boxes = np.array([[2, 3, 14, 16], [22, 10, 46, 25]], np.float32)
    masks = np.zeros((2, height, width), np.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.astype(int), strict=True):
        mask[y1:y2, x1:x2] = 1
        image[:, y1:y2, x1:x2] += rng.random((3, 1, 1), np.float32)
    return image, {"boxes": boxes, "labels": np.array([1, 2]), "masks": masks}


def step(model, optimizer):
    """Make a step; return the losses before it, and all gradients."""
    images, targets = zip(example(), example(1), strict=True)
    losses = model(images, targets, np.random.default_rng(0))
    sum(losses.values()).backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert np.isfinite(grad_norm(optimizer.parameters()))
    optimizer.step()
    return {name: loss.item() for name, loss in losses.items()}, gradients


@pytest.fixture(autouse=True)
def _whole(gpu):
    gpu.limited = False  # takes minutes in the simulator


ONLY_COMPILED = pytest.mark.skipif(mode() == "simulator", reason="one step there takes minutes")


@pytest.mark.parametrize(
    "norm, kind",
    [
        ("batch", SGD),
        pytest.param("frozen", Muon, marks=ONLY_COMPILED),
        pytest.param("group", SGD, marks=ONLY_COMPILED),
    ],
)
def test_training_step(gpu, norm, kind):
    here = maskrcnn_tiny(4, norm=norm, **SMALLEST)
    there = maskrcnn_tiny(4, norm=norm, **SMALLEST).to("cuda")
    results = []
    for model in (here, there):
        average = MovingAverage(model, 0.9)
        results.append((*step(model, kind(model.parameters(), 0.01, 0.9, 1e-3)), average))
        average.update()
    (losses, gradients, averages), (there_losses, there_gradients, there_averages) = results
    assert losses == pytest.approx(there_losses, rel=1e-4)
    assert gradients.keys() == there_gradients.keys()
    for name, grad in gradients.items():
        assert isinstance(there_gradients[name], GpuArray), name
        assert_near(there_gradients[name].numpy(), grad, name)
    for name, array in there.state_dict().items():
        assert_near(array, here.state_dict()[name], name)
        assert_near(there_averages.averages[name], averages.averages[name], name)


def test_prediction(gpu):
    image, _ = example()
    here, there = (maskrcnn_tiny(4, **SMALLEST).eval() for _ in range(2))
    there.to("cuda")
    (expected,), (found,) = here([image]), there([image])
    assert len(expected["boxes"]) == 2
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        assert_near(found[name], array, name)


def test_there_and_back(gpu):
    model, image = maskrcnn_tiny(4, **SMALLEST), example()[0]
    before = {name: array.copy() for name, array in model.state_dict().items()}
    assert model.to("cuda").device == "cuda"
    assert {device_of(p.data) for p in model.parameters()} == {"cuda"}
    for name, array in model.to("cpu").state_dict().items():
        assert np.array_equal(array, before[name]), name
    assert len(model.eval()([image])) == 1


def test_weights_of_the_host_do_not_meet_maps_of_the_device(gpu):
    from tinymaskrcnn import Tensor
    from tinymaskrcnn.functional import conv2d

    x = Tensor(np.zeros((1, 4, 4, 2), np.float32)).to("cuda")
    with pytest.raises(InputError, match=r"\(1, 4, 4, 2\) on cuda, \(3, 2, 1, 1\) on cpu"):
        conv2d(x, Tensor(np.zeros((3, 2, 1, 1), np.float32)))


def assert_near(actual, expected, what):
    """The largest difference is at most 1e-4 of the largest value."""
    actual = actual.numpy() if isinstance(actual, GpuArray) else actual
    assert actual.shape == expected.shape, what
    scale = max(np.abs(expected).max(initial=0), 1e-3)
    assert np.abs(actual - expected).max(initial=0) <= 1e-4 * scale, what
