"""The package's CUDA kernels as lesson 18 runs them: as plain Python, on a card of Python."""

import ast
from pathlib import Path

import numpy as np
import pytest

import tinymaskrcnn
from lessons import load
from lessons.plain_kernels import kernels_of
from tinymaskrcnn.ops.box_iou import reference as iou_reference
from tinymaskrcnn.ops.conv2d import reference as conv_reference
from tinymaskrcnn.ops.paste_masks import reference as paste_reference
from tinymaskrcnn.ops.roi_align import reference as roi_reference

OPS = Path(tinymaskrcnn.__file__).parent / "ops"
RNG = np.random.default_rng(0)


def run(kernel, grid, *arguments, threads=None):
    faults, stretches = load("gpu_kernels").run_grid(
        kernel, grid, threads or kernel.threads, *arguments
    )
    assert faults == []
    return stretches


def boxes(count):
    corners = RNG.uniform(0, 20, (count, 2))
    return np.hstack([corners, corners + RNG.uniform(1, 20, (count, 2))]).astype(np.float32)


def test_box_iou():
    a, b, table = boxes(18), boxes(5), np.full((18, 5), np.nan, np.float32)
    run(kernels_of("ops.box_iou.cuda")._table, (1, 2), a, b, table)
    np.testing.assert_allclose(table, iou_reference.box_iou(a, b), atol=1e-6)


def test_the_table_of_suppressions():
    found, some = np.zeros((40, 2), np.int32), boxes(40)
    run(kernels_of("ops.nms.cuda")._suppressions, (2, 2), some, np.float32(0.3), found)
    overlap = iou_reference.box_iou(some, some) > 0.3
    bits = found.view(np.uint32)[:, :, None] >> np.arange(32, dtype=np.uint32) & 1
    np.testing.assert_array_equal(bits.reshape(40, 64)[:, :40], np.triu(overlap, 1))


def test_roi_align_and_its_gradient():
    features = RNG.standard_normal((2, 7, 8, 3)).astype(np.float32)
    rois = np.float32([[0, 1, 1, 6, 5], [1, 0, 2, 14, 12]])
    grad, how = RNG.standard_normal((2, 2, 3, 3)).astype(np.float32), (0.5, 2, True)
    pooled, asked = np.full_like(grad, np.nan), np.full_like(features, np.nan)
    kernels = kernels_of("ops.roi_align.cuda")
    run(kernels._pool, (1,), features, rois, *how, pooled, threads=(32,))
    run(kernels._pool_grad, (3,), grad, rois, *how, asked, threads=(32,))
    expected = roi_reference.roi_align(features, rois, (2, 3), *how)
    np.testing.assert_allclose(pooled, expected, atol=1e-5)
    expected = roi_reference.roi_align_grad(grad, features.shape, rois, (2, 3), *how)
    np.testing.assert_allclose(asked, expected, atol=1e-5)


@pytest.mark.parametrize("exact", [False, True])
def test_pasting(exact):
    kernels = kernels_of("ops.paste_masks.cuda")
    masks, places = RNG.random((2, 4, 4), np.float32), np.float32([[1, 2, 9, 8], [0, 0, 5, 11]])
    pasted = np.full((2, 10, 12), np.nan, np.float32)
    run(kernels._paste, (2,), masks, *kernels._places(places, 4, exact), pasted)
    expected = paste_reference.paste_masks(masks, places, 10, 12, exact)
    np.testing.assert_allclose(pasted, expected, atol=1e-5)


def test_a_convolution_with_stride_and_groups():
    x, weight = RNG.standard_normal((2, 5, 6, 4)), RNG.standard_normal((6, 2, 3, 3))
    kernels, how = kernels_of("ops.conv2d.cuda"), ((2, 1), (1, 1), (1, 1))
    y = np.full((2, 3, 6, 6), np.nan)
    packed = weight.reshape(2, 3, 2, 9).transpose(0, 3, 2, 1).reshape(2, 18, 3)
    reading = tuple(kernels.forward_reading(3, *how))
    given = x, packed, np.zeros(6), y, y, reading, False, False, False
    run(kernels._gather, (1, 1, 2), *given)
    np.testing.assert_allclose(
        y, conv_reference.conv2d(x, weight, None, None, *how, 2, False), atol=1e-5
    )


def test_a_sum_by_a_block_stops_at_its_two_barriers():
    x, partial = RNG.standard_normal((1, 700)).astype(np.float32), np.zeros((1, 1), np.float32)
    stretches = run(kernels_of("ops.cuda_sums")._rows, (1,), x, 700, partial)
    np.testing.assert_allclose(partial[0, 0], x.sum(), atol=1e-3)
    assert len(stretches) == 3


@pytest.mark.parametrize("which", range(2))
def test_each_of_its_barriers_is_needed(which):
    kernel = kernels_of("ops.cuda_sums", without_barrier=which)._rows
    x, partial = np.ones((1, 700), np.float32), np.zeros((1, 1), np.float32)
    faults, _ = load("gpu_kernels").run_grid(kernel, (1,), kernel.threads, x, 700, partial)
    assert any("race" in fault for fault in faults)


def test_a_barrier_that_some_never_reach():
    def kernel(cuda):
        if cuda.threadIdx.x < 3:
            yield

    faults, _ = load("gpu_kernels").run_grid(kernel, (1,), (5,))
    assert faults == ["3 threads wait at a barrier that others never reach"]


def test_two_that_only_read_do_not_race():
    races = load("gpu_kernels").races
    assert races([(0, "reads", ("s", 1)), (1, "reads", ("s", 1))]) == []
    assert races([(0, "writes", ("s", 1)), (0, "reads", ("s", 1))]) == []
    assert len(races([(0, "reads", ("s", 1)), (1, "writes", ("s", 1))])) == 1
    assert len(races([(0, "writes", ("s", 1)), (1, "writes", ("s", 1))])) == 1
    assert races([(0, "writes", ("s", 1)), (1, "reads", ("t", 1))]) == []


def test_every_kernel_can_be_read():
    """Each function that a cuda.py marks as a kernel is found, and its text is the file's own."""
    for path in sorted(OPS.rglob("*cuda*.py")):
        module = ".".join(path.relative_to(OPS.parent).with_suffix("").parts)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        marked = [n for n in tree.body if isinstance(n, ast.FunctionDef) and _is_kernel(n)]
        found = vars(kernels_of(module))
        assert all(hasattr(found[node.name], "threads") for node in marked)


def _is_kernel(node):
    return any(ast.unparse(mark).startswith("kernel(") for mark in node.decorator_list)


def test_what_is_not_there():
    with pytest.raises(LookupError, match="no module 'ops"):
        kernels_of("ops.nothing")
    with pytest.raises(LookupError, match="no barrier 9"):
        kernels_of("ops.cuda_gemm", without_barrier=9)
