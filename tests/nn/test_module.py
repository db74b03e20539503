"""Modules: names, state dicts, modes; and layers with a norm folded in."""

import numpy as np
import pytest

from tinymaskrcnn import nn
from tinymaskrcnn.autograd import no_grad
from tinymaskrcnn.errors import InputError
from tinymaskrcnn.nn.layers import conv_norm
from tinymaskrcnn.tensor import Tensor


@pytest.fixture
def rng():
    return np.random.default_rng(0)


class Small(nn.Module):
    def __init__(self, rng):
        self.conv = nn.Conv2d(2, 3, 3, padding=1, bias=False, rng=rng)
        self.bn = nn.BatchNorm2d(3)
        self.head = nn.Sequential(nn.ConvNorm(nn.Conv2d(3, 4, 1, rng=rng)), nn.ReLU())

    def forward(self, x):
        return self.head(conv_norm(self.conv, self.bn, x, relu=True))


NAMES = ["conv.weight", "bn.weight", "bn.bias", "head.0.0.weight", "head.0.0.bias"]


def test_names_follow_the_attributes(rng):
    model = Small(rng)
    assert [name for name, _ in model.named_parameters()] == NAMES
    assert set(model.state_dict()) == {*NAMES, "bn.running_mean", "bn.running_var"}


def test_state_dict_round_trip(rng):
    one, other = Small(rng), Small(rng)
    x = Tensor(rng.random((1, 4, 4, 2), np.float32))
    one.eval(), other.eval()
    assert not np.array_equal(one(x).data, other(x).data)
    other.load_state_dict({k: v.copy() for k, v in one.state_dict().items()})
    np.testing.assert_array_equal(one(x).data, other(x).data)


def test_load_ignores_batch_counts_and_names_what_does_not_fit(rng):
    model = Small(rng)
    before = {k: v.copy() for k, v in model.state_dict().items()}
    state = {k: v + 1 for k, v in before.items()}
    model.load_state_dict(state | {"bn.num_batches_tracked": np.int64(7)})
    wrong = dict(state)
    del wrong["bn.bias"]
    wrong |= {"extra": np.zeros(1), "conv.weight": np.zeros((3, 2, 1, 1))}
    with pytest.raises(InputError) as error:
        model.load_state_dict(wrong)
    for part in (
        "1 missing: bn.bias",
        "1 unexpected: extra",
        "conv.weight (3, 2, 1, 1), expected (3, 2, 3, 3)",
    ):
        assert part in str(error.value)
    np.testing.assert_array_equal(model.state_dict()["conv.weight"], state["conv.weight"])
    with pytest.raises(InputError, match="another shape"):
        model.load_state_dict(wrong, strict=False)


def test_train_and_eval_reach_every_module(rng):
    model = Small(rng)
    model.eval()
    assert not any(module.training for module in model.modules())
    model.train()
    assert all(module.training for module in model.modules())


def test_zero_grad(rng):
    model = Small(rng)
    model(Tensor(rng.random((1, 4, 4, 2), np.float32))).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, nn.FrozenBatchNorm2d])
def test_a_folded_norm_computes_the_same(backend, rng, norm):
    conv, bn = nn.Conv2d(3, 5, 3, padding=1, rng=rng), norm(5)
    for name in ("weight", "bias", "running_mean", "running_var"):
        part = getattr(bn, name)
        (part.data if isinstance(part, Tensor) else part)[:] = rng.random(5) + 0.5
    bn.eval()
    x, residual = (Tensor(rng.standard_normal((2, 6, 5, c)).astype(np.float32)) for c in (3, 5))
    apart = bn(conv(x), relu=True, residual=residual)
    with no_grad():
        folded = conv_norm(conv, bn, x, relu=True, residual=residual)
    np.testing.assert_allclose(folded.data, apart.data, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("eps", [None, 1e-3, 0.0])
def test_a_frozen_norm_is_a_norm_in_eval_mode(backend, rng, eps):
    """Also with the same default epsilon, and from a state that counts batches."""
    settings = {} if eps is None else {"eps": eps}
    norms = [nn.FrozenBatchNorm2d(32, **settings), nn.BatchNorm2d(32, **settings).eval()]
    names = ("weight", "bias", "running_mean", "running_var")
    state = {name: rng.random(32).astype(np.float32) for name in names}
    for norm in norms:
        norm.load_state_dict(state | {"num_batches_tracked": np.int64(100)})
    x = Tensor(rng.random((4, 28, 28, 32), np.float32))
    frozen, trained = (norm(x).data for norm in norms)
    np.testing.assert_allclose(frozen, trained, rtol=1e-5, atol=1e-6)


def test_gradients_through_a_frozen_norm_match_the_norm_apart(backend, rng):
    conv, bn = nn.Conv2d(3, 4, 3, rng=rng), nn.FrozenBatchNorm2d(4)
    bn.weight[:], bn.running_var[:] = rng.random(4) + 0.5, rng.random(4) + 0.5
    x = rng.standard_normal((2, 5, 5, 3)).astype(np.float32)
    grads = []
    for forward in (lambda t: conv_norm(conv, bn, t), lambda t: bn(conv(t))):
        conv.zero_grad()
        t = Tensor(x, requires_grad=True)
        (forward(t) ** 2).sum().backward()
        grads.append((t.grad, conv.weight.grad))
    for one, other in zip(*grads, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
