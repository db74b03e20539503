"""SGD, Muon, gradient norm and clipping."""

import numpy as np
import pytest
from hypothesis import strategies as st

import lessons
from tests.properties import on_each_backend
from tinymaskrcnn import jit
from tinymaskrcnn.errors import InputError
from tinymaskrcnn.nn import Parameter
from tinymaskrcnn.ops.orthogonalize.reference import orthogonalize
from tinymaskrcnn.ops.sgd import cpu
from tinymaskrcnn.optim import SGD, Muon, clip_scale, grad_norm, without_decay_of_vectors


def parameter(values, grad=None, dtype=np.float32) -> Parameter:
    made = Parameter(np.array(values, dtype))
    made.grad = None if grad is None else np.array(grad, dtype)
    return made


def test_two_steps_by_hand(backend):
    p = parameter([1.0, -2.0], grad=[0.5, 1.0])
    optimizer = SGD([p], lr=0.1, momentum=0.5, weight_decay=0.25)
    optimizer.step()
    # d = grad + decay * p = [0.75, 0.5]; velocity = d; p -= 0.1 * velocity
    np.testing.assert_allclose(p.data, [0.925, -2.05], rtol=1e-6)
    optimizer.step()
    # d = [0.73125, 0.4875]; velocity = 0.5 * velocity + d = [1.10625, 0.7375]
    np.testing.assert_allclose(p.data, [0.814375, -2.12375], rtol=1e-6)


def test_step_marks_parameters_as_changed_and_skips_those_without_gradient():
    trained, untouched = parameter([1.0], grad=[1.0]), parameter([1.0])
    optimizer = SGD([trained, untouched], lr=1.0)
    before = trained.version, untouched.version
    optimizer.step()
    assert trained.version > before[0] and untouched.version == before[1]
    assert trained.data[0] == 0 and untouched.data[0] == 1


def test_frozen_parameters_are_left_out():
    frozen, free = parameter([1.0], grad=[1.0]), parameter([1.0], grad=[1.0])
    frozen.requires_grad = False
    optimizer = SGD([frozen, free], lr=1.0)
    optimizer.step()
    assert optimizer.parameters() == [free]
    assert frozen.data[0] == 1


def test_groups_have_their_own_weight_decay(backend):
    matrix, vector = parameter([[1.0]], grad=[[0.0]]), parameter([1.0], grad=[0.0])
    SGD(without_decay_of_vectors([matrix, vector]), lr=0.1, weight_decay=1.0).step()
    np.testing.assert_allclose(matrix.data, 0.9, rtol=1e-6)
    assert vector.data[0] == 1


def test_zero_grad_forgets_gradients():
    p = parameter([1.0], grad=[1.0])
    SGD([p], lr=0.1).zero_grad()
    assert p.grad is None


sgd_one = lessons.load("training").sgd_one
numbers = st.floats(-4, 4, width=32)


@on_each_backend(
    st.lists(numbers, min_size=1, max_size=40),
    st.lists(numbers, min_size=1, max_size=4),
    st.sampled_from([0.0, 0.5, 0.9]),
    st.sampled_from([0.0, 0.01]),
    st.sampled_from([1.0, 0.25]),
    examples=25,
)
def test_specification(backend, values, grads, momentum, decay, scale):
    p = parameter(values)
    optimizer = SGD([p], 0.1, momentum, decay)
    for grad in grads:
        p.grad = np.full_like(p.data, grad)
        optimizer.step(scale)
    expected = [sgd_one(v, grads, 0.1, momentum, decay, scale) for v in values]
    np.testing.assert_allclose(p.data, expected, rtol=1e-5, atol=1e-5)


def test_muon_takes_orthogonal_steps_in_weights(backend):
    rng = np.random.default_rng(0)
    start, grads = rng.standard_normal((6, 2, 3, 3)), rng.standard_normal((3, 6, 2, 3, 3))
    p, expected, velocity = parameter(start), start.copy(), np.zeros_like(start)
    optimizer = Muon([p], lr=0.1, momentum=0.9, weight_decay=0.01)
    for grad in grads:
        p.grad, before = grad.astype(np.float32), p.version
        optimizer.step(grad_scale=0.5)
        assert p.version > before
        velocity = 0.9 * velocity + 0.5 * grad
        ahead = (0.5 * grad + 0.9 * velocity).reshape(6, 18)
        step = np.sqrt(6 / 18) * orthogonalize([ahead])[0].reshape(start.shape)
        expected -= 0.1 * (step + 0.01 * expected)
    np.testing.assert_allclose(p.data, expected, atol=1e-5)


muon_in_loops = lessons.load("training").muon_in_loops


@on_each_backend(
    st.tuples(st.integers(1, 5), st.integers(1, 6)),
    st.integers(0, 99),
    st.sampled_from([1e-30, 1e-9, 1e-7, 1.0, 1e6]),
    st.sampled_from([0.0, 0.5, 0.9]),
    st.sampled_from([0.0, 0.01]),
    st.sampled_from([1.0, 0.25]),
    examples=40,
)
def test_muon_specification(backend, shape, seed, size, momentum, decay, scale):
    rng = np.random.default_rng(seed)
    start = rng.standard_normal(shape).astype(np.float32)
    grads = (size * rng.standard_normal((3, *shape))).astype(np.float32)
    p = parameter(start)
    optimizer = Muon([p], 0.1, momentum, decay)
    for grad in grads:
        p.grad = grad
        optimizer.step(scale)
    expected = muon_in_loops(start, grads, 0.1, momentum, decay, scale)
    np.testing.assert_allclose(p.data, expected, atol=1e-4)


def test_muon_changes_vectors_as_sgd_does(backend):
    one, other = parameter([1.0, -2.0], grad=[0.5, 1.0]), parameter([1.0, -2.0], grad=[0.5, 1.0])
    optimizers = [kind([p], 0.1, 0.5, 0.25) for kind, p in ((SGD, one), (Muon, other))]
    for optimizer in optimizers * 2:
        optimizer.step()
    np.testing.assert_array_equal(one.data, other.data)


def test_a_muon_step_is_the_same_at_any_scale_of_the_loss():
    grad = np.random.default_rng(1).standard_normal((8, 5)).astype(np.float32)
    results = []
    for scale in (1, 1e-6):
        p = parameter(np.zeros((8, 5)), grad=grad * scale)
        Muon([p], lr=1.0).step()
        results.append(p.data)
    np.testing.assert_allclose(*results, atol=1e-5)


def test_float64_parameters_are_served_too():
    p = parameter([1.0], grad=[1.0], dtype=np.float64)
    SGD([p], lr=1e-9).step()
    assert p.data[0] == 1 - 1e-9


def test_parameters_that_are_not_contiguous_are_trained():
    p = parameter(np.arange(6).reshape(2, 3).T, grad=np.ones((3, 2)))
    SGD([p], lr=1.0).step()
    np.testing.assert_array_equal(p.data, np.arange(6).reshape(2, 3).T - 1)


@pytest.mark.parametrize("kind", [SGD, Muon])
def test_state_goes_on_bit_for_bit(kind):
    rng = np.random.default_rng(0)
    start = rng.standard_normal((5, 10), np.float32)
    grads = rng.standard_normal((6, 5, 10), np.float32)

    def run(p, optimizer, some):
        for grad in some:
            p.grad = grad
            optimizer.step()

    whole = parameter(start)
    run(whole, kind([whole], 0.1, 0.9, 0.01), grads)
    first = parameter(start)
    before = kind([first], 0.1, 0.9, 0.01)
    run(first, before, grads[:3])
    second = parameter(first.data)
    after = kind([second], 0.1, 0.9, 0.01)
    after.load_state_dict({name: array.copy() for name, array in before.state_dict().items()})
    run(second, after, grads[3:])
    assert whole.data.tobytes() == second.data.tobytes()


def test_state_of_other_parameters_is_refused():
    optimizer = SGD([parameter([1.0])], lr=0.1)
    with pytest.raises(InputError, match="does not fit"):
        optimizer.load_state_dict(SGD([parameter([1.0, 2.0])], lr=0.1).state_dict())


def test_grad_norm_by_hand(backend):
    assert grad_norm([parameter([0.0], grad=[3.0]), parameter([0.0, 0.0], grad=[0.0, 4.0])]) == 5
    assert grad_norm([parameter([0.0])]) == 0


def test_grad_norm_tells_what_is_not_finite(backend):
    assert np.isnan(grad_norm([parameter([0.0], grad=[np.nan])]))
    assert np.isinf(grad_norm([parameter([0.0], grad=[-np.inf])]))


def test_grad_norm_of_gradients_whose_squares_overflow(backend):
    assert grad_norm([parameter([0.0, 0.0], grad=[3e30, 4e30])]) == pytest.approx(5e30)


def test_clipping():
    assert clip_scale(2.0, 5.0) == 1
    assert clip_scale(10.0, 5.0) == 0.5
    assert clip_scale(10.0, 0.0) == 1


def test_sums_and_steps_are_the_same_at_any_number_of_threads():
    rng = np.random.default_rng(0)
    values = rng.standard_normal(100_003).astype(np.float32)

    def results(threads):
        jit.set_threads(threads)
        p, velocity = values.copy(), values[::-1].copy()
        cpu.sgd_step(p, values, velocity, 0.1, 0.9, 0.01, 0.5)
        average = values[::-1].copy()
        cpu.moving_average(average, values, 0.3)
        return cpu.sum_of_squares(values), p.tobytes(), average.tobytes()

    most = jit.numba.config.NUMBA_NUM_THREADS
    try:
        assert results(1) == results(most)
    finally:
        jit.set_threads(most)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"lr": -1.0}, "lr is -1"), ({"lr": 1.0, "momentum": 2.0}, "momentum is 2.0")],
)
def test_numbers_out_of_range_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        SGD([parameter([1.0])], **settings)


def test_nothing_to_train_is_refused():
    with pytest.raises(InputError, match="no parameter"):
        SGD([], lr=0.1)
