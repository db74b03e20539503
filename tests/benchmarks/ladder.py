"""What each form of convolution gains over the one before it, on the layers of ResNet-50-FPN at
480x640 (one image) and of the small model at 256x256 (eight images): backbone, pyramid and the
heads of the region proposals.

python -m tests.benchmarks.ladder [--rounds 3]

Every result is compared with reference.py before its time counts. Times are CPU time on one thread,
the shortest of some rounds, summed over all layers. A layer is timed again only on a rung that
computes it in another way. The rungs are explained in tinymaskrcnn/ops/conv2d/README.md.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np

import tinymaskrcnn as tm
from tinymaskrcnn.jit import serial, set_threads
from tinymaskrcnn.ops.conv2d import cpu, reference
from tinymaskrcnn.ops.conv2d.cpu import few_channels, grad_weight_winograd, winograd_blocks
from tinymaskrcnn.ops.conv2d.cpu.geometry import Geometry
from tinymaskrcnn.ops.conv2d.winograd import winograd, winograd_size

from .case import require_close
from .fma import measure_peak

LOOP_PRODUCTS = 10_000_000  # per layer: a few pixels stand for all
TOLERANCE = 1e-4
PASSES = "forward", "grad-input", "grad-weight"


class Layer(NamedTuple):
    geometry: Geometry
    residual: bool
    relu: bool

    @property
    def flops(self) -> float:
        return 2.0 * prod(self.geometry.weight) * prod(self.geometry.y[:3])


class Rung(NamedTuple):
    """What is switched on: F(size x size, 3 x 3), the form for few channels, weights kept."""

    name: str
    size: int = 0
    few: bool = False
    kept: bool = False


LOOP, NUMPY = Rung("loop over single numbers"), Rung("reference.py")
RUNGS = (
    LOOP,
    NUMPY,
    Rung("cpu/direct.py"),
    Rung("cpu/few_channels.py", few=True),
    Rung("Winograd, 2x2", few=True, size=2),
    Rung("Winograd, 4x4", few=True, size=4),
    Rung("weights kept", few=True, size=4, kept=True),
)


@contextmanager
def standing_on(rung: Rung) -> Iterator[None]:
    """Within this context convolutions use the forms of this rung and of those below."""
    suits = few_channels.suits if rung.few else lambda geometry: False
    with winograd(rung.size), patch.object(few_channels, "suits", suits):
        yield


def way(layer: Layer, which: str, rung: Rung) -> Any:
    """How this rung computes a layer; None if it cannot. Equal ways take equal times."""
    g = layer.geometry
    if rung is LOOP:
        return rung if which == "forward" and g.groups == 1 else None
    if rung is NUMPY:
        return rung
    with standing_on(rung):
        if which == "forward":
            form = next(form for form in cpu.FORMS if form.suits(g))
            return form, winograd_size() * (form is winograd_blocks), rung.kept
        if which == "grad-input":
            return winograd_blocks.suits(g.turned()) and winograd_size()
        return grad_weight_winograd.suits(g) or (few_channels.suits(g) and "few")


def layers_of(model: Any, shape: tuple[int, ...]) -> Counter[Layer]:
    """The model's convolutions of images of this shape (N, H, W, C), and how often each occurs."""
    found: Counter[Layer] = Counter()

    def record(x: Any, weight: Any, bias: Any, residual: Any, *rest: Any) -> Any:
        y = original(x, weight, bias, residual, *rest)
        geometry = Geometry(x.shape, weight.shape, y.shape, *rest[:4])
        found[Layer(geometry, residual is not None, rest[4])] += 1
        return y

    original = cpu.conv2d
    with patch.object(cpu, "conv2d", record), tm.no_grad():
        model.rpn.head(model.backbone(tm.Tensor(np.zeros(shape, np.float32))))
    return found


def calls(layer: Layer) -> Callable[[str, Rung], Callable[[], Any]]:
    """A function that gives the call for one pass on one rung."""
    rng, g = np.random.default_rng(0), layer.geometry
    x, y, grad = (rng.standard_normal(s, np.float32) for s in (g.x, g.y, g.y))
    looped, some = np.empty(g.y, np.float32), pixels(layer)
    weight = rng.standard_normal(g.weight, np.float32) / np.float32(prod(g.weight[1:]) ** 0.5)
    residual = y if layer.residual else None
    kept: dict[Any, Any] = {}

    def call(which: str, rung: Rung) -> Callable[[], Any]:
        if rung is LOOP:
            return lambda: _loop(x, weight, looped, *g.stride, *g.padding, *g.dilation, some)
        module = reference if rung is NUMPY else cpu
        if which == "grad-input":
            return lambda: module.conv2d_grad_input(grad, weight, g.x, *g[3:])
        if which == "grad-weight":
            return lambda: module.conv2d_grad_weight(grad, x, g.weight, *g[3:])
        table = kept if rung.kept else None
        return lambda: module.conv2d(x, weight, None, residual, *g[3:], layer.relu, table)

    return call


def pixels(layer: Layer) -> int:
    """Of how many output pixels the loop computes a layer."""
    g = layer.geometry
    return min(prod(g.y[:3]), max(1, LOOP_PRODUCTS // prod(g.weight)))


@serial
def _loop(x, weight, y, step_h, step_w, top, left, tap_h, tap_w, pixels):
    """The first pixels of y, one product after the other."""
    height, width = x.shape[1:3]
    for pixel in range(pixels):
        line, j = pixel // y.shape[2], pixel % y.shape[2]
        n, i = line // y.shape[1], line % y.shape[1]
        for o in range(weight.shape[0]):
            total = np.float32(0)
            for c in range(weight.shape[1]):
                for r in range(weight.shape[2]):
                    for s in range(weight.shape[3]):
                        h, w = i * step_h - top + r * tap_h, j * step_w - left + s * tap_w
                        if h >= 0 and h < height and w >= 0 and w < width:
                            total += x[n, h, w, c] * weight[o, c, r, s]
            y[n, i, j, o] = total


def times_of(layer: Layer, rounds: int) -> dict[tuple[str, Any], float]:
    """Seconds by pass and way."""
    call, times = calls(layer), {}
    for which in PASSES:
        expected = call(which, NUMPY)()
        for rung in RUNGS:
            key = which, way(layer, which, rung)
            if key[1] is None or key in times:
                continue
            run = call(which, rung)
            with standing_on(rung):
                output = expected if rung is NUMPY else run()
                if rung not in (LOOP, NUMPY):
                    require_close(f"{layer} {key}", output, expected, TOLERANCE)
                times[key] = min(_seconds(run) for _ in range(rounds))
            if rung is LOOP:
                times[key] *= prod(layer.geometry.y[:3]) / pixels(layer)
    return times


def _seconds(run: Callable[[], Any]) -> float:
    """CPU time of one call, the mean of calls that together take 5 ms."""
    start, count = time.process_time(), 0
    while not count or time.process_time() - start < 0.005:
        run()
        count += 1
    return (time.process_time() - start) / count


def show(name: str, layers: Counter[Layer], rounds: int, peak: float) -> None:
    """Print a model's ladder."""
    work = sum(count * layer.flops for layer, count in layers.items())
    times = {layer: times_of(layer, rounds) for layer in layers}
    print(f"{name}: {layers.total()} convolutions, {work / 1e9:.1f} GFLOP each way")
    print(f"{'':26}" + "".join(f"{which + ', ms':>17}  gain  of peak" for which in PASSES))
    before: dict[str, float] = {}
    for rung in RUNGS:
        text = f"{rung.name:26}"
        for which in PASSES:
            ways = {layer: way(layer, which, rung) for layer in layers}
            if None in ways.values() or (rung.kept and which != "forward"):
                text += " " * 32
                continue
            taken = sum(layers[layer] * times[layer][which, ways[layer]] for layer in layers)
            gain = f"{before[which] / taken:.2f}" if which in before else ""
            text += f"{1e3 * taken:17.1f}{gain:>6}{work / taken / peak:9.0%}"
            before[which] = taken
        print(text.rstrip(), flush=True)
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    set_threads(1)
    peak = measure_peak(1, 0.3)
    print(f"one thread; peak {peak / 1e9:.0f} GFLOP/s\n")
    models = {
        "small model, 8 x 256x256": (tm.maskrcnn_tiny(), (8, 256, 256, 3)),
        "ResNet-50-FPN, 480x640": (tm.maskrcnn_resnet50_fpn(), (1, 480, 640, 3)),
    }
    for name, (model, shape) in models.items():
        show(name, layers_of(model.eval(), shape), rounds, peak)


if __name__ == "__main__":
    main()
