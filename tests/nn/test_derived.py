"""What inference derives from weights is kept, follows every change, and goes with the weight."""

import copy
import gc
import pickle
import threading
import weakref

import numpy as np
import pytest

from tinymaskrcnn import SGD, nn
from tinymaskrcnn.autograd import no_grad
from tinymaskrcnn.gpu.array import assign, to_host
from tinymaskrcnn.models.box_head import FlattenLinear
from tinymaskrcnn.nn.layers import conv_norm
from tinymaskrcnn.ops.derive import derive
from tinymaskrcnn.tensor import Tensor


class Normed(nn.Module):
    def __init__(self, conv, norm):
        self.conv, self.norm = conv, norm

    def forward(self, x):
        return conv_norm(self.conv, self.norm, x)


def conv(ins, outs, kernel=3, **settings):
    return nn.Conv2d(
        ins, outs, kernel, padding=kernel // 2, rng=np.random.default_rng(1), **settings
    )


# Layers and the shape of what they read
LAYERS = {
    "few channels": (lambda: conv(3, 8), (1, 6, 6, 3)),
    "winograd": (lambda: conv(16, 16), (1, 16, 16, 16)),
    "direct": (lambda: conv(16, 16), (1, 4, 4, 16)),
    "groups": (lambda: conv(8, 8, groups=2), (1, 4, 4, 8)),
    "large": (lambda: conv(200, 200), (1, 4, 4, 200)),
    "batch norm": (lambda: Normed(conv(3, 8), nn.BatchNorm2d(8)), (1, 6, 6, 3)),
    "frozen norm": (lambda: Normed(conv(3, 8), nn.FrozenBatchNorm2d(8)), (1, 6, 6, 3)),
    "transposed": (
        lambda: nn.ConvTranspose2d(4, 6, 2, 2, rng=np.random.default_rng(1)),
        (1, 3, 3, 4),
    ),
    "linear": (lambda: nn.Linear(5, 6, rng=np.random.default_rng(1)), (3, 5)),
    "crops": (lambda: FlattenLinear(2, 5, rng=np.random.default_rng(1)), (3, 7, 7, 2)),
}
PARTS = [
    (name, part)
    for name, (make, _) in LAYERS.items()
    for part, array in make().state_dict().items()
]


def made(name):
    """A layer whose every value differs from 0 and 1, and its input."""
    make, shape = LAYERS[name]
    layer, rng = make().eval(), np.random.default_rng(0)
    for part, array in layer.state_dict().items():
        if part.rpartition(".")[2] != "weight" or array.ndim == 1:
            array[...] = rng.random(array.shape) + 0.5
    return layer, Tensor(rng.standard_normal(shape).astype(np.float32))


def infer(layer, x):
    with no_grad():
        return layer(x).numpy().copy()


def kept_of(layer):
    """The tables of the layer's parameters that are not empty."""
    return [p._kept[1] for p in layer.parameters() if p._kept is not None and p._kept[1]]


# Changes that nobody speaks of: functions of a layer and the name of one of its arrays. They take
# hold of what they need and return what makes the change.


def through(look):
    """A change through an array that somebody has taken hold of before."""

    def prepare(layer, part):
        array = look(layer, part)
        return lambda: np.multiply(array, 1.5, out=array)

    return prepare


def owner_of(layer, part):
    *path, name = part.split(".")
    for step in path:
        layer = getattr(layer, step)
    return layer, name


def array_of(layer, part):
    module, name = owner_of(layer, part)
    found = getattr(module, name)
    return found.data if isinstance(found, nn.Parameter) else found


def given(layer, part):
    """An array that the parameter was given, and that its giver still has."""
    module, name = owner_of(layer, part)
    array = array_of(layer, part) * 1
    if isinstance(getattr(module, name), nn.Parameter):
        getattr(module, name).data = array
    else:
        setattr(module, name, array)
    return array


def replace(layer, part):
    module, name = owner_of(layer, part)
    if isinstance(getattr(module, name), nn.Parameter):
        getattr(module, name).data = getattr(module, name).data * np.float32(1.5)
    else:
        setattr(module, name, getattr(module, name) * np.float32(1.5))


def multiply(layer, part):
    module, name = owner_of(layer, part)
    if isinstance(getattr(module, name), nn.Parameter):
        getattr(module, name).data *= 1.5
    else:
        getattr(module, name)[...] *= 1.5


def load(layer, part):
    layer.load_state_dict({part: layer.state_dict()[part] * 1.5}, strict=False)


def load_of_part(layer, part):
    module, name = owner_of(layer, part)
    module.load_state_dict({name: module.state_dict()[name] * 1.5}, strict=False)


CHANGES = {
    "view taken before": through(lambda layer, part: array_of(layer, part).reshape(-1)),
    "part of a view": through(lambda layer, part: array_of(layer, part)[1:][:2]),
    "array taken before": through(array_of),
    "memory taken before": through(
        lambda layer, part: np.asarray(memoryview(array_of(layer, part)))
    ),
    "array given before": through(given),
    "state taken before": through(lambda layer, part: layer.state_dict()[part]),
    "in place": lambda layer, part: lambda: multiply(layer, part),
    "one value": lambda layer, part: lambda: array_of(layer, part).put(1, 7),
    "another array": lambda layer, part: lambda: replace(layer, part),
    "load": lambda layer, part: lambda: load(layer, part),
    "load of a part": lambda layer, part: lambda: load_of_part(layer, part),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name, part", PARTS)
def test_inference_sees_every_change(name, part, change):
    layer, x = made(name)
    infer(layer, x)
    make_change = CHANGES[change](layer, part)
    before = infer(layer, x)
    assert np.array_equal(infer(layer, x), before)
    make_change()
    after = infer(layer, x)
    assert not np.allclose(after, before, rtol=1e-3)
    np.testing.assert_allclose(after, layer(x).numpy(), rtol=1e-4, atol=1e-4)  # nothing kept there


@pytest.mark.parametrize("name", LAYERS)
def test_inference_sees_a_step_of_the_optimiser(backend, name):
    layer, x = made(name)
    optimizer = SGD(layer.parameters(), lr=0.1)
    before = infer(layer, x)
    layer(x).sum().backward()
    optimizer.step()
    after = infer(layer, x)
    assert not np.allclose(after, before, rtol=1e-3)
    np.testing.assert_allclose(after, layer(x).numpy(), rtol=1e-4, atol=1e-4)


def test_inference_sees_running_statistics_move(backend):
    layer, x = made("batch norm")
    before = infer(layer, x)
    layer.train()
    layer(x)
    layer.eval()
    after = infer(layer, x)
    assert not np.allclose(after, before, rtol=1e-3)
    np.testing.assert_allclose(after, layer(x).numpy(), rtol=1e-4, atol=1e-4)


def test_inference_sees_another_epsilon_and_another_dtype(backend):
    layer, x = made("batch norm")
    before = infer(layer, x)
    layer.norm.eps = 0.5
    assert not np.allclose(infer(layer, x), before, rtol=1e-3)
    layer, x = made("direct")
    infer(layer, x)
    for parameter in layer.parameters():
        parameter.data = parameter.data.astype(np.float64)
    assert infer(layer, Tensor(x.data.astype(np.float64))).dtype == np.float64


def test_one_convolution_under_two_norms(backend):
    """Each use has its own folded weight, and the shared weight one table."""
    layer, x = made("batch norm")
    other = Normed(layer.conv, nn.FrozenBatchNorm2d(8))
    for _ in range(2):
        for each in (layer, other):
            np.testing.assert_allclose(infer(each, x), each(x).numpy(), rtol=1e-4, atol=1e-4)


# How long it is kept


@pytest.mark.parametrize(
    "name", ["few channels", "winograd", "direct", "groups", "batch norm", "crops"]
)
def test_inference_makes_it_once(name):
    layer, x = made(name)
    infer(layer, x)
    (table,) = kept_of(layer)
    entries = dict(table)
    infer(layer, x)
    assert kept_of(layer)[0] is table
    assert table.keys() == entries.keys()
    assert all(table[key] is entry for key, entry in entries.items())


def test_a_large_weight_alone_is_not_kept():
    layer, x = made("large")
    infer(layer, x)
    assert not kept_of(layer)


def test_nothing_is_kept_while_somebody_holds_the_array_and_again_afterwards():
    layer, x = made("winograd")
    expected, view = infer(layer, x), layer.weight.data[:3]
    assert np.array_equal(infer(layer, x), expected)
    assert not kept_of(layer)
    del view
    assert np.array_equal(infer(layer, x), expected)
    assert kept_of(layer)


@pytest.mark.parametrize("name", LAYERS)
def test_training_keeps_nothing(name):
    layer, x = made(name)
    infer(layer, x)
    layer.train()
    layer(x).sum().backward()
    assert not kept_of(layer)


def test_it_goes_with_the_weight():
    layer, x = made("batch norm")
    infer(layer, x)
    folded = weakref.ref(layer.conv.weight._kept[1]["folded"][1][0])
    assert folded() is not None
    del layer
    gc.collect()
    assert folded() is None


def test_looking_at_a_shape_is_no_change():
    layer, x = made("winograd")
    infer(layer, x)
    weight, version = layer.weight, layer.weight.version
    assert (weight.shape, weight.dtype, weight.device) == ((16, 16, 3, 3), np.float32, "cpu")
    assert layer.device == "cpu"
    assert weight.version == version
    assert kept_of(layer)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
@pytest.mark.parametrize("name", LAYERS)
def test_copies_and_pickles_have_their_own(name, again):
    layer, x = made(name)
    fresh = len(pickle.dumps(layer))
    expected = infer(layer, x)
    assert len(pickle.dumps(layer)) == fresh
    other = again(layer)
    assert not kept_of(other)
    assert np.array_equal(infer(other, x), expected)
    assert len(kept_of(other)) == len(kept_of(layer))
    for parameter in other.parameters():
        parameter.data *= 2
    assert not np.allclose(infer(other, x), expected)
    assert np.array_equal(infer(layer, x), expected)


def test_a_copy_keeps_gradient_and_whether_it_is_trained():
    parameter = nn.Parameter(np.ones(3, np.float32))
    parameter.grad, parameter.requires_grad = np.full(3, 2.0), False
    other = copy.deepcopy(parameter)
    assert other.requires_grad is False
    assert np.array_equal(other.grad, parameter.grad) and other.grad is not parameter.grad
    assert not np.shares_memory(other.data, parameter.data)


def test_threads_share_one_table():
    """Each round begins with a change; all threads must see it, whoever derives first."""
    layer, x = made("winograd")
    start, results = layer.weight.data.copy(), {}

    def run(number, barrier):
        barrier.wait()
        results[number] = infer(layer, x)

    layer.bias.data[...] = 0
    for factor in (1, 2, 4, 8):  # powers of two: exact
        layer.weight.data[...] = start * factor
        barrier = threading.Barrier(4)
        threads = [threading.Thread(target=run, args=(n, barrier)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if factor == 1:
            once = results[0]
        for result in results.values():
            assert np.array_equal(result, once * factor)
        infer(layer, x)
        assert len(kept_of(layer)) == 1


# On the device


@pytest.mark.cuda
@pytest.mark.parametrize("norm", [nn.BatchNorm2d, nn.FrozenBatchNorm2d])
def test_a_folded_norm_on_the_device(gpu, norm):
    if hasattr(gpu, "limited"):
        gpu.limited = False  # the simulator computes a few pixels
    layer = Normed(conv(2, 3), norm(3)).eval().to("cuda")
    x = Tensor(np.random.default_rng(0).standard_normal((1, 3, 3, 2))).to("cuda")
    before = infer(layer, x)
    (table,) = kept_of(layer)
    folded = table["folded"]
    assert np.array_equal(infer(layer, x), before) and table["folded"] is folded
    assert len(folded[1][2]) == 1  # what kernels derive from it
    bias = array_of(layer, "norm.bias")
    assign(bias, to_host(bias) + 1)
    np.testing.assert_allclose(infer(layer, x), before + 1, atol=1e-4)
    layer.norm.load_state_dict({"running_mean": np.full(3, -1.0)}, strict=False)
    np.testing.assert_allclose(infer(layer, x), before + 2, atol=1e-3)
    layer.conv.bias.data.fill_from(layer.conv.bias.numpy() + 1)
    np.testing.assert_allclose(infer(layer, x), before + 3, atol=1e-3)


@pytest.mark.cuda
@pytest.mark.parametrize("kind", ["few channels", "crops"])
def test_a_weight_on_the_device(gpu, kind):
    if hasattr(gpu, "limited"):
        gpu.limited = False
    layer = conv(2, 3) if kind == "few channels" else LAYERS[kind][0]()
    shape = (1, 3, 3, 2) if kind == "few channels" else (1, 7, 7, 2)
    x = Tensor(np.random.default_rng(0).standard_normal(shape))
    on_host = infer(layer, x)
    layer, x = layer.to("cuda"), x.to("cuda")
    before = infer(layer, x)
    np.testing.assert_allclose(before, on_host, atol=1e-5)
    (table,) = kept_of(layer)
    infer(layer, x)
    assert kept_of(layer)[0] is table
    view = layer.weight.data.reshape(-1)
    assert np.array_equal(infer(layer, x), before)
    assert not kept_of(layer)
    view.fill_from(view.numpy() * 2)
    twice = 2 * before - layer.bias.numpy()
    np.testing.assert_allclose(infer(layer, x), twice, atol=1e-5)
    del view
    infer(layer, x)
    assert kept_of(layer)
    layer.weight.data.fill_from(layer.weight.numpy() / 2)
    np.testing.assert_allclose(infer(layer, x), before, atol=1e-5)


# By hand


def test_derive():
    made_of, table = [], {}

    def make():
        made_of.append(1)
        return len(made_of)

    assert [derive(None, "a", make), derive(None, "a", make)] == [1, 2]
    assert [derive(table, "a", make) for _ in range(2)] == [3, 3]
    assert [derive(table, "b", make, others=o) for o in (1, 1, 2, 1)] == [4, 4, 5, 6]
    assert derive(table, "a", make) == 3
