"""Device arrays, their pool, and the check of every launch."""

import numpy as np
import pytest

from tinymaskrcnn.backend import use
from tinymaskrcnn.errors import InputError
from tinymaskrcnn.gpu import pool
from tinymaskrcnn.gpu.array import (
    GpuArray,
    assign,
    empty,
    shares_memory,
    to_device,
    to_host,
    zeros_like,
)
from tinymaskrcnn.ops import activations
from tinymaskrcnn.tensor import Tensor

pytestmark = pytest.mark.cuda


def ramp(*shape):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


# Arrays


@pytest.mark.parametrize(
    "host, dtype",
    [
        (ramp(2, 3), np.float32),
        (ramp(2, 3).astype(np.float64), np.float32),
        (np.arange(5), np.int32),
        (np.array([1, 2], np.uint8), np.uint8),
        (np.array([True, False]), np.bool_),
        (np.float32(3), np.float32),
        (ramp(0, 3), np.float32),
        (ramp(4, 6)[::2, ::3], np.float32),
        (ramp(3)[None, None, :, None], np.float32),  # axes with a stride of 0
    ],
)
def test_there_and_back(gpu, host, dtype):
    array = to_device(host)
    assert (array.shape, array.dtype, array.size) == (np.shape(host), dtype, np.size(host))
    assert array.numpy().dtype == dtype
    np.testing.assert_array_equal(array.numpy(), host)
    np.testing.assert_array_equal(to_host(array), to_host(host))


def test_parts_and_shapes_share_the_memory(gpu):
    array = to_device(ramp(4, 3, 2))
    assign(array[1:3].reshape(2, -1)[1], np.full(6, 9))
    expected = ramp(4, 3, 2)
    expected[2] = 9
    np.testing.assert_array_equal(array.numpy(), expected)
    assert [row.shape for row in array] == [(3, 2)] * 4
    assert array[3:1].shape == (0, 3, 2)
    assert array.flat.shape == (24,)


def test_zeros_like(gpu):
    for array in (ramp(2, 2), to_device(ramp(2, 2))):
        zeros = zeros_like(array)
        assert type(zeros) is type(array)
        np.testing.assert_array_equal(to_host(zeros), np.zeros((2, 2)))


@pytest.mark.parametrize(
    "wrong, error, message",
    [
        (lambda a: a.reshape(5, 5), ValueError, r"shape \(2, 3\) into \(5, 5\)"),
        (lambda a: a[5], IndexError, r"take 5 of .*\(2, 3\)"),
        (lambda a: a[::2], IndexError, r"\(2, 3\)"),
        (lambda a: a + a, TypeError, "unsupported operand"),
        (lambda a: np.asarray(a), TypeError, r"on the device: copy it to the host with .numpy\(\)"),
        (lambda a: np.ones(3, np.float32) * a, TypeError, "unsupported|does not support"),
        (lambda a: a.fill_from(ramp(3, 2)), ValueError, r"\(2, 3\) cannot take \(3, 2\)"),
        (lambda a: to_device(a, np.int32), TypeError, "of float32: expected int32"),
        (lambda a: empty(3, np.float64), TypeError, "of float64: expected one of float32"),
        (lambda a: to_device(np.array([2**40])), OverflowError, "1099511627776 do not fit"),
    ],
)
def test_what_an_array_refuses(gpu, wrong, error, message):
    with pytest.raises(error, match=message):
        wrong(to_device(ramp(2, 3)))


# Pool


def test_blocks_are_used_again(gpu):
    first = empty((100, 100))
    memory = first._block.memory
    view = first[3:5]
    del first
    assert empty((100, 100))._block.memory is not memory  # the view still holds it
    del view
    assert empty((99, 100))._block.memory is memory


def test_a_full_device_gives_up_its_spare_blocks(gpu, monkeypatch):
    spare = empty(10_000)
    del spare
    allocate, calls = gpu.allocate, []

    def full_at_first(size):
        calls.append(size)
        if len(calls) == 1:
            raise MemoryError(f"the GPU has no room for {size} bytes")
        return allocate(size)

    monkeypatch.setattr(gpu, "allocate", full_at_first)
    array = empty(50_000)
    assert (array.shape, len(calls)) == ((50_000,), 2)
    assert not any(pool._free[gpu].values())


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 5000, 123_457, 2**30 + 1])
def test_rounded_sizes_waste_a_quarter_at_most(size):
    rounded = pool.rounded(size)
    assert rounded % 512 == 0
    assert size <= rounded <= max(1.25 * size + 512, 512)


# Launches


def test_a_launch_is_what_was_compiled(gpu):
    from tinymaskrcnn.ops.losses.cuda import _scale

    x, out = to_device(ramp(5)), empty(5)
    _scale[1](x, 2, out)
    np.testing.assert_array_equal(out.numpy(), 2 * ramp(5))
    wrong = {
        r"argument 0 is a host array \(5,\), compiled for": (ramp(5), 2.0, out),
        r"argument 0 is GpuArray\(shape=\(5, 1\)": (x.reshape(5, 1), 2.0, out),
        "argument 2 is GpuArray.*int32": (x, 2.0, empty(5, np.int32)),
        "argument 1 is 'two'": (x, "two", out),
        "takes 3 arguments, not 2": (x, out),
    }
    for message, arguments in wrong.items():
        with pytest.raises(TypeError, match=message):
            _scale[1](*arguments)


def test_whole_numbers_that_do_not_fit_are_refused(gpu):
    from tinymaskrcnn.ops.cuda_sums import _rows

    with pytest.raises(TypeError, match="argument 1 is 2147483648, compiled for int32"):
        _rows[1, 1](to_device(ramp(1, 5)), 2**31, empty((1, 1)))


def test_no_blocks_no_launch(gpu):
    from tinymaskrcnn.ops.losses.cuda import _scale

    _scale[0](empty(0), 1.0, empty(0))


def test_views_share_memory(gpu):
    a = to_device(ramp(4, 3))
    assert shares_memory(a, a) and shares_memory(a[1:], a.reshape(12))
    assert not shares_memory(a, to_device(ramp(4, 3)))
    assert not shares_memory(a, ramp(4, 3))


# Dispatch


def test_arrays_choose_the_backend(gpu):
    device, host = to_device(ramp(3)), ramp(3)
    kernels = activations.kernels
    assert kernels(device).__name__ == "tinymaskrcnn.ops.activations.cuda"
    assert kernels(host).__name__ == "tinymaskrcnn.ops.activations.cpu"
    with use("cuda"):
        assert isinstance(kernels(host).relu(host), np.ndarray)
        assert isinstance(kernels(device).relu(device), GpuArray)
    with (
        use("reference"),
        pytest.raises(InputError, match=r'on the device, but use\("reference"\)'),
    ):
        kernels(device)


def test_tensors_on_the_device(gpu):
    x = Tensor(ramp(2, 3)).to("cuda")
    assert (x.device, x.shape, x.dtype) == ("cuda", (2, 3), np.float32)
    assert "[[0. 1. 2.]" in repr(x)
    x.requires_grad = True
    y = (x * 2 + np.array([1.0, 0.0, -1.0])).sum()
    y.backward()
    assert y.item() == 30
    assert isinstance(x.grad, GpuArray)
    np.testing.assert_array_equal(x.grad.numpy(), np.full((2, 3), 2))
    assert x.to("cuda") is x
    assert x.to("cpu").device == "cpu"


def test_operands_in_different_places(gpu):
    x, y = Tensor(ramp(2, 3)).to("cuda"), Tensor(ramp(3))
    with pytest.raises(InputError, match=r"Add: .*\(2, 3\) on cuda, \(3,\) on cpu"):
        x + y


def test_an_unknown_device():
    with pytest.raises(InputError, match="device 'tpu': expected one of cpu, cuda"):
        Tensor(ramp(2)).to("tpu")


def test_an_optimiser_of_before_the_move(gpu):
    from tinymaskrcnn import SGD, Muon
    from tinymaskrcnn.nn import Parameter

    for kind in (SGD, Muon):
        parameter = Parameter(ramp(2, 2))
        optimizer = kind([parameter], lr=0.1)
        parameter.data = to_device(parameter.data)
        (parameter * 2).sum().backward()
        with pytest.raises(InputError, match=r"\(2, 2\) is on cuda, its velocity on cpu"):
            optimizer.step()


# Boxes and masks, which have no gradients


def test_boxes_on_the_device(gpu):
    from tinymaskrcnn import batched_nms, box_iou, nms, paste_masks
    from tinymaskrcnn.functional import paste_masks_binary

    boxes = np.array([[0, 0, 4, 4], [1, 0, 5, 4], [6, 6, 9, 9]], np.float32)
    scores, labels = np.array([0.5, 0.9, 0.7], np.float32), [1, 1, 2]
    there, scores_there = to_device(boxes), to_device(scores)
    np.testing.assert_array_equal(box_iou(there, there).numpy(), box_iou(boxes, boxes))
    assert nms(there, scores_there, 0.3).tolist() == [1, 2]
    assert batched_nms(there, scores_there, labels, 0.3).tolist() == [1, 2]
    masks = ramp(3, 2, 2) / 12
    pasted = paste_masks(to_device(masks), there, 10, 10)
    np.testing.assert_allclose(pasted.numpy(), paste_masks(masks, boxes, 10, 10), atol=1e-6)
    binary = paste_masks_binary(to_device(masks), boxes, 10, 10, 0.4)
    assert np.array_equal(binary.numpy(), paste_masks_binary(masks, boxes, 10, 10, 0.4))


def test_boxes_in_different_places(gpu):
    from tinymaskrcnn import box_iou, nms

    boxes = np.array([[0, 0, 4, 4]], np.float32)
    with pytest.raises(InputError, match=r"a \(1, 4\) on cuda, b \(1, 4\) on cpu"):
        box_iou(to_device(boxes), boxes)
    with pytest.raises(InputError, match=r"boxes \(1, 4\) on cpu, scores \(1,\) on cuda"):
        nms(boxes, to_device(np.ones(1)), 0.5)


def test_more_cells_than_a_kernel_counts():
    with pytest.raises(InputError, match="up to 2147483647 cells"):
        empty((2**16, 2**15))
