"""The graph walk, Tensor, and gradcheck itself."""

import threading

import numpy as np
import pytest

import lessons
from tinymaskrcnn.autograd import Function, is_grad_enabled, no_grad, observe
from tinymaskrcnn.gradcheck import gradcheck
from tinymaskrcnn.in_place import InPlaceFunction
from tinymaskrcnn.ops.conv2d import reference
from tinymaskrcnn.ops.conv2d.op import conv2d
from tinymaskrcnn.tensor import Tensor


class Double(Function):
    """y = 2 x, counting how often backward runs; also shows what a node keeps."""

    calls = 0

    def forward(self, x):
        self.save(x)
        return 2 * x

    def backward(self, grad):
        _ = self.saved
        type(self).calls += 1
        return 2 * grad


def test_by_hand():
    a, b = Tensor([2.0, 3.0], requires_grad=True), Tensor([5.0, 7.0], requires_grad=True)
    (a * b + a).sum().backward()
    np.testing.assert_array_equal(a.grad, [6.0, 8.0])
    np.testing.assert_array_equal(b.grad, [2.0, 3.0])


def test_each_node_runs_once_however_many_paths_lead_to_it():
    Double.calls = 0
    x = Tensor([1.0], requires_grad=True)
    y = Double()(x)
    for _ in range(5):
        y = y + y  # 2^5 paths
    y.backward()
    assert Double.calls == 1
    np.testing.assert_array_equal(x.grad, [64.0])


def test_gradients_of_two_backwards_add_up_in_leaves():
    x = Tensor([1.0, 2.0], requires_grad=True)
    (x * 3).sum().backward()
    (x * 4).sum().backward()
    np.testing.assert_array_equal(x.grad, [7.0, 7.0])


def test_shared_gradients_are_not_written_into():
    x, y = Tensor([1.0], requires_grad=True), Tensor([1.0], requires_grad=True)
    total = x + y  # both leaves are handed the same gradient array
    (total + x).backward()
    np.testing.assert_array_equal(x.grad, [2.0])
    np.testing.assert_array_equal(y.grad, [1.0])


class InPlace(InPlaceFunction):
    """y = 2 x; backward adds to the total where it may."""

    def forward(self, x):
        return 2 * x

    def backward(self, grad):
        return 2 * grad

    def backward_into(self, grads, totals):
        (grad,), (total,) = grads, totals
        return 2 * grad if total is None else np.add(total, 2 * grad, out=total)


def test_gradients_are_gathered_in_place_where_they_may_be():
    x = Tensor([1.0], requires_grad=True)
    hidden = x + 0.0
    (InPlace()(hidden) + InPlace()(hidden) + hidden + Double()(hidden)).backward()
    np.testing.assert_array_equal(x.grad, [7.0])


def test_no_total_is_offered_that_others_may_hold():
    x = Tensor([1.0], requires_grad=True)
    hidden, grad = x + 0.0, np.array([1.0], np.float32)
    (hidden + InPlace()(hidden)).backward(grad)  # the first to come is `grad` itself
    np.testing.assert_array_equal(x.grad, [3.0])
    np.testing.assert_array_equal(grad, [1.0])


class HandsOn(InPlaceFunction):
    """y = x, whose gradient is the very array that came, or a view of it."""

    def __init__(self, view):
        self.view = view

    def forward(self, x):
        return x.copy()

    def backward(self, grad):
        return grad[:] if self.view else grad


@pytest.mark.parametrize("view", [False, True])
def test_what_backward_hands_on_is_not_added_to(view):
    x = Tensor([1.0], requires_grad=True)
    hidden, grad = x + 0.0, np.array([1.0], np.float32)
    (HandsOn(view)(hidden) + InPlace()(hidden) + HandsOn(view)(x)).backward(grad)
    np.testing.assert_array_equal(x.grad, [4.0])
    np.testing.assert_array_equal(grad, [1.0])
    assert not np.shares_memory(x.grad, grad)


def test_two_convolutions_share_one_gradient_array(monkeypatch):
    totals, original = [], reference.conv2d_grad_input

    def grad_input(*arguments):
        totals.append((arguments[-1], original(*arguments)))
        return totals[-1][1]

    monkeypatch.setattr(reference, "conv2d_grad_input", grad_input)
    x, weight = Tensor(np.ones((1, 2, 2, 1)), requires_grad=True), np.ones((1, 1, 1, 1))
    hidden = x * 1.0
    (conv2d(hidden, weight) + conv2d(hidden, 2 * weight)).backward(np.ones((1, 2, 2, 1)))
    (none, first), (total, second) = totals
    assert none is None
    assert total is first is second
    np.testing.assert_array_equal(x.grad, np.full((1, 2, 2, 1), 3.0))


def test_a_leaf_keeps_a_fresh_gradient_and_copies_others():
    x = Tensor([1.0], requires_grad=True)
    grad = np.array([1.0], np.float32)
    (x + 0.0).backward(grad)
    assert not np.shares_memory(x.grad, grad)
    for expected in (3.0, 5.0):
        InPlace()(x).backward(grad)
        np.testing.assert_array_equal(x.grad, [expected])


def test_deep_graphs_need_no_recursion():
    x = Tensor([1.0], requires_grad=True)
    y = x
    for _ in range(20_000):
        y = y + 0.0
    y.backward()
    np.testing.assert_array_equal(x.grad, [1.0])


def test_second_backward_says_that_buffers_are_freed():
    x = Tensor([1.0], requires_grad=True)
    y = (x * x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="freed"):
        y.backward()


def test_backward_lets_go_of_activations():
    import weakref

    x = Tensor(np.ones(4), requires_grad=True)
    hidden = x * 2
    alive = weakref.ref(hidden)
    out = (hidden * hidden).sum()
    del hidden
    assert alive() is not None
    out.backward()
    assert alive() is None


def test_no_grad_records_nothing():
    x = Tensor([1.0], requires_grad=True)
    with no_grad():
        assert not is_grad_enabled()
        y = Double()(x)
    assert is_grad_enabled()
    assert not y.requires_grad
    with pytest.raises(RuntimeError, match="does not require"):
        y.backward()


def test_an_observer_sees_each_gradient_that_is_complete():
    x = Tensor([3.0], requires_grad=True)
    seen = []
    y = Double()(x)
    z = y * y + y
    with observe(lambda node, grads: seen.append((node, *grads))):
        z.backward()
        with observe(None):
            Double()(x).backward()
    Double()(x).backward()
    assert [node for node, _ in seen].index(y.node) == len(seen) - 1 == 2
    assert seen[-1][1].tolist() == [13.0]  # both uses of y


def test_an_observer_is_of_one_thread():
    seen = []

    def learn():
        Double()(Tensor([1.0], requires_grad=True)).backward()

    with observe(lambda node, grads: seen.append(node)):
        thread = threading.Thread(target=learn)
        thread.start()
        thread.join()
    assert seen == []


def test_several_outputs():
    class Split(Function):
        def forward(self, x):
            return x[:1], x[1:]

        def backward(self, first, rest):
            first = np.zeros(1, np.float32) if first is None else first
            rest = np.zeros(2, np.float32) if rest is None else rest
            return np.concatenate([first, rest])

    x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    _, rest = Split()(x)
    (rest * rest).sum().backward()
    np.testing.assert_array_equal(x.grad, [0.0, 4.0, 6.0])


def test_wrong_shape_from_a_backward_is_named():
    class Wrong(Function):
        def forward(self, x):
            return x.sum(keepdims=True)

        def backward(self, grad):
            return grad

    with pytest.raises(RuntimeError, match=r"Wrong.backward returned .*\(1,\).*\(3,\)"):
        Wrong()(Tensor(np.ones(3), requires_grad=True)).backward()


@pytest.mark.parametrize("grad", [None, np.ones(3)])
def test_backward_wants_a_gradient_of_the_right_shape(grad):
    y = Tensor([1.0, 2.0], requires_grad=True) * 1.0
    with pytest.raises(ValueError, match="shape"):
        y.backward(grad)


def test_item_wants_one_element():
    assert Tensor([[3.0]]).item() == 3.0
    with pytest.raises(ValueError, match=r"\(2,\)"):
        Tensor([1.0, 2.0]).item()


def test_gradcheck_finds_a_wrong_derivative():
    class Wrong(Function):
        def forward(self, x):
            self.save(x)
            return x**3

        def backward(self, grad):
            (x,) = self.saved
            return grad * 3 * x**2 * 1.0001

    with pytest.raises(AssertionError, match="central differences"):
        gradcheck(lambda x: Wrong()(x), np.array([1.0, 2.0]))
    with pytest.raises(TypeError, match="float64"):
        gradcheck(lambda x: x, np.ones(2, np.float32))


@pytest.mark.parametrize("seed", range(4))
def test_equals_an_engine_of_single_numbers(seed):
    """Lesson 01's Scalar on random expressions that use their values several times."""
    rng = np.random.default_rng(seed)
    numbers = rng.uniform(0.5, 2.0, 4)
    scalars = [lessons.load("gradients").Scalar(float(n)) for n in numbers]
    tensors = [Tensor(np.float64(n), requires_grad=True) for n in numbers]
    values = list(zip(scalars, tensors, strict=True))
    for _ in range(8):
        (a, x), (b, y) = (values[i] for i in rng.integers(0, len(values), 2))
        kind = rng.integers(3)
        values.append(
            (a + b, x + y) if kind == 0 else (a * b, x * y) if kind == 1 else (a**-2.0, x**-2.0)
        )
    total, expected = values[-1][0], values[-1][1]
    for a, x in values[4:-1]:
        total, expected = total + a, expected + x
    total.backward()
    expected.backward()
    np.testing.assert_allclose(expected.item(), total.value, rtol=1e-12)
    for scalar, tensor in zip(scalars, tensors, strict=True):
        got = 0.0 if tensor.grad is None else float(tensor.grad)
        np.testing.assert_allclose(got, scalar.grad, rtol=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradients_of_single_numbers_add_up(dtype):
    """NumPy's arithmetic on arrays without axes gives scalars, to which nothing can be added."""
    x = Tensor(dtype(3), requires_grad=True)
    inside = x * 1.0
    (inside * inside + inside * 2.0 + inside).backward()
    assert float(x.grad) == 2 * 3 + 2 + 1
