"""Cross-entropy, binary cross-entropy on logits, smooth L1."""

from math import exp, log

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import lessons
from tests.properties import implementation, on_each_backend
from tinymaskrcnn.gradcheck import gradcheck
from tinymaskrcnn.ops.losses import kernels, reference
from tinymaskrcnn.ops.losses.op import binary_cross_entropy_with_logits, cross_entropy, smooth_l1
from tinymaskrcnn.tensor import Tensor

SHAPES = array_shapes(min_dims=1, max_dims=3)
ONE = np.ones((), np.float32)
LESSON = lessons.load("region_proposals")


def numbers(shape, low=-30, high=30):
    return arrays(np.float32, shape, elements=st.floats(low, high, width=32))


def array(*values):
    return np.array(values, np.float32)


# By hand


def test_cross_entropy(backend):
    logits = Tensor(np.log(array([1, 1, 2], [3, 4, 1])), requires_grad=True)
    loss = cross_entropy(logits, [2, 0])
    assert loss.shape == ()
    np.testing.assert_allclose(loss.data, (log(2) + log(8 / 3)) / 2, rtol=1e-6)
    loss.backward()
    np.testing.assert_allclose(logits.grad, array([2, 2, -4], [-5, 4, 1]) / 16, rtol=1e-6)


def test_binary_cross_entropy(backend):
    logits = Tensor(array(0, np.log(3)), requires_grad=True)
    loss = binary_cross_entropy_with_logits(logits, array(1, 0))
    np.testing.assert_allclose(loss.data, (log(2) + log(4)) / 2, rtol=1e-6)
    loss.backward()
    np.testing.assert_allclose(logits.grad, [-0.25, 0.375], rtol=1e-6)


def test_smooth_l1(backend):
    prediction = Tensor(array(0, 1, 5, -6), requires_grad=True)
    loss = smooth_l1(prediction, array(0, 0, 1, 0), beta=2)
    np.testing.assert_array_equal(loss.data, 0 + 0.25 + 3 + 5)
    loss.backward()
    np.testing.assert_array_equal(prediction.grad, [0, 0.5, 1, -1])
    separate = smooth_l1(prediction, array(0, 0, 1, 0), beta=2, reduction="none")
    np.testing.assert_array_equal(separate.data, [0, 0.25, 3, 5])


def test_beta_zero_is_the_absolute_difference(backend):
    prediction = Tensor(array(2, -3, 0), requires_grad=True)
    loss = smooth_l1(prediction, array(0, 0, 0), beta=0, reduction="mean")
    loss.backward()
    np.testing.assert_allclose(loss.data, 5 / 3, rtol=1e-6)
    np.testing.assert_allclose(prediction.grad, array(1, -1, 0) / 3, rtol=1e-6)


# Specification

cross_entropy_one = lessons.load("box_head").cross_entropy_one


@on_each_backend(st.data(), examples=30)
def test_cross_entropy_one_row_at_a_time(backend, data):
    rows, classes = data.draw(st.tuples(st.integers(1, 5), st.integers(1, 6)))
    logits = data.draw(numbers((rows, classes)))
    labels = data.draw(arrays(np.int64, rows, elements=st.integers(0, classes - 1)))
    losses = []
    for row, label in zip(logits.tolist(), labels, strict=True):
        losses.append(cross_entropy_one(row, label))
    loss, probabilities = implementation(kernels).cross_entropy(logits, labels)
    np.testing.assert_allclose(loss, sum(losses) / rows, rtol=1e-5, atol=4e-6)
    assert loss.dtype == probabilities.dtype == np.float32


@on_each_backend(st.data(), st.sampled_from(["mean", "sum"]), examples=30)
def test_binary_cross_entropy_one_number_at_a_time(backend, data, reduction):
    logits = data.draw(numbers(data.draw(SHAPES)))
    targets = data.draw(numbers(logits.shape, 0, 1))
    pairs = zip(logits.ravel().tolist(), targets.ravel().tolist(), strict=True)
    total = sum(LESSON.binary_cross_entropy_one(*pair) for pair in pairs)
    expected = total / logits.size if reduction == "mean" else total
    loss = implementation(kernels).binary_cross_entropy(logits, targets, reduction)
    np.testing.assert_allclose(loss, expected, rtol=1e-5, atol=1e-6)


@on_each_backend(st.data(), st.sampled_from([0, 1 / 9, 1, 2.5]), examples=30)
def test_smooth_l1_one_number_at_a_time(backend, data, beta):
    prediction = data.draw(numbers(data.draw(SHAPES)))
    target = data.draw(numbers(prediction.shape))
    pairs = zip(prediction.ravel().tolist(), target.ravel().tolist(), strict=True)
    expected = [LESSON.smooth_l1_one(a - b, beta) for a, b in pairs]
    module = implementation(kernels)
    losses = module.smooth_l1(prediction, target, beta, "none")
    np.testing.assert_allclose(losses.ravel(), expected, rtol=1e-5, atol=1e-6)
    total = module.smooth_l1(prediction, target, beta, "sum")
    np.testing.assert_allclose(total, sum(expected), rtol=1e-5, atol=1e-6)


def test_a_sure_right_answer_keeps_its_digits(backend):
    """log(1 + e^-14) is 8.3e-7; added to 14 and subtracted again, it would be 9.5e-7."""
    loss = binary_cross_entropy_with_logits(array([14, -14]), array([1, 0]), "mean")
    np.testing.assert_allclose(loss.data, log(1 + exp(-14)), rtol=1e-4)


# Gradient


def test_gradient():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 4))
    gradcheck(lambda x: cross_entropy(x, [0, 3, 1, 1, 2]), x)
    targets = rng.random((5, 4))
    for reduction in ("mean", "sum"):
        gradcheck(lambda x, r=reduction: binary_cross_entropy_with_logits(x, targets, r), 3 * x)
    for reduction in ("mean", "sum", "none"):
        for beta in (0, 1 / 9, 1):
            gradcheck(lambda x, b=beta, r=reduction: smooth_l1(x, targets, b, r), x)


@on_each_backend(
    st.data(), st.sampled_from(["mean", "sum"]), st.sampled_from([0, 1 / 9, 1]), examples=30
)
def test_gradients_are_the_references(backend, data, reduction, beta):
    x = data.draw(numbers(data.draw(SHAPES)))
    targets = data.draw(numbers(x.shape, 0, 1))
    for name, settings_ in (("binary_cross_entropy", ()), ("smooth_l1", (beta,))):
        expected, got = (
            getattr(module, f"{name}_grad")(ONE, x, targets, *settings_, reduction)
            for module in (reference, implementation(kernels))
        )
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


# Laws


@on_each_backend(numbers((4, 3)), st.floats(-50, 50, width=32), examples=30)
def test_laws(backend, x, c):
    labels, module = np.array([0, 1, 2, 1]), implementation(kernels)
    loss, probabilities = module.cross_entropy(x, labels)
    shifted, _ = module.cross_entropy(x + np.float32(c), labels)
    np.testing.assert_allclose(shifted, loss, rtol=1e-4, atol=2e-5)
    dlogits = module.cross_entropy_grad(ONE, probabilities, labels)
    np.testing.assert_allclose(dlogits.sum(1), 0, atol=1e-6)
    one, other = (
        module.binary_cross_entropy(s * x, t + 0 * x, "sum") for s, t in ((1, 1), (-1, 0))
    )
    np.testing.assert_allclose(one, other, rtol=1e-6)
    forth, back = (module.smooth_l1(*pair, 1.0, "sum") for pair in ((x, x[::-1]), (x[::-1], x)))
    np.testing.assert_allclose(forth, back, rtol=1e-6)


# Outside oracle: torch 2.14


def test_as_torch(backend):
    logits = array([2, -1, 0.5], [0, 3, -2])
    np.testing.assert_allclose(cross_entropy(logits, [0, 2]).data, 2.6481483, rtol=1e-6)
    loss = binary_cross_entropy_with_logits(logits, array([1, 0, 0.3], [0.5, 1, 0]))
    np.testing.assert_allclose(loss.data, 0.35548821, rtol=1e-6)
    loss = smooth_l1(logits, np.zeros_like(logits), 1 / 9)
    np.testing.assert_allclose(loss.data, 8.2222223, rtol=1e-6)


# Edges


def test_a_loss_over_nothing_is_zero_and_has_an_empty_gradient(backend):
    for loss in (
        lambda x: cross_entropy(x, np.zeros(0, np.int64)),
        lambda x: binary_cross_entropy_with_logits(x, np.zeros((0, 4))),
        lambda x: smooth_l1(x, np.zeros((0, 4))),
        lambda x: smooth_l1(x, np.zeros((0, 4)), reduction="mean"),
    ):
        x = Tensor(np.zeros((0, 4), np.float32), requires_grad=True)
        value = loss(x)
        value.backward()
        np.testing.assert_array_equal(value.data, 0)
        assert value.shape == () and x.grad.shape == (0, 4)


def test_large_numbers_do_not_overflow(backend):
    logits = Tensor(array([1e4, 0, -1e4]), requires_grad=True)
    loss = cross_entropy(logits, [0])
    loss.backward()
    np.testing.assert_array_equal(loss.data, 0)
    np.testing.assert_array_equal(logits.grad, [[0, 0, 0]])
    logits = Tensor(array(1e4, -1e4, -1e4), requires_grad=True)
    loss = binary_cross_entropy_with_logits(logits, array(1, 0, 1), "sum")
    loss.backward()
    np.testing.assert_array_equal(loss.data, 1e4)
    np.testing.assert_array_equal(logits.grad, [0, 0, -1])


def test_what_is_not_a_number_shows(backend):
    x = array([1, np.nan])
    assert np.isnan(cross_entropy(x, [0]).data)
    assert np.isnan(binary_cross_entropy_with_logits(x, np.zeros((1, 2))).data)
    assert np.isnan(smooth_l1(x, np.zeros((1, 2))).data)


def test_errors():
    x = Tensor(np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match="from 0 to 3, expected 0 to 2"):
        cross_entropy(x, [0, 3])
    with pytest.raises(ValueError, match="from -100 to 0"):
        cross_entropy(x, [0, -100])
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(3,\)"):
        cross_entropy(x, [0, 1, 2])
    with pytest.raises(ValueError, match=r"shape \(2, 3\), the target \(3,\)"):
        smooth_l1(x, np.zeros(3))
    with pytest.raises(ValueError, match="reduction 'none', expected one of mean, sum"):
        binary_cross_entropy_with_logits(x, np.zeros((2, 3)), "none")
    with pytest.raises(ValueError, match="beta is -1"):
        smooth_l1(x, np.zeros((2, 3)), -1)
    with pytest.raises(ValueError, match="requires a gradient"):
        smooth_l1(x, Tensor(np.zeros((2, 3)), requires_grad=True))


def test_a_divided_loss_stays_in_double_precision():
    """Its gradient is a number, not an array; that once selected the float32 kernels."""
    prediction = Tensor(np.array([0.1, 2.0]), requires_grad=True)
    (smooth_l1(prediction, np.zeros(2), 0.5) / 3).backward()
    np.testing.assert_allclose(prediction.grad, [0.2 / 3, 1 / 3], rtol=1e-15)
