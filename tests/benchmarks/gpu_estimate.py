"""Estimate how long the CUDA kernels should take on an H100-class card:
`python -m tests.benchmarks.gpu_estimate [--launch-us N] [tiny | resnet50 | step]`.

The model runs with kernels that do nothing but are counted. For each launch we count the bytes of
its arguments (each read or written once), the arithmetic that its blocks execute (idle cells of
tiles included), and one launch. The expected time of a launch is the largest of

- bytes / memory bandwidth,
- arithmetic / the rate that the tiles reach, over the processors that have a block,
- the time the host needs to launch: if this is the largest, the card waits for Python.

It needs numba-cuda but no GPU. `python -m tinymaskrcnn bench --device cuda` measures on a card and
will check this; until then none of it is a result.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

import tinymaskrcnn as tm
from tinymaskrcnn.gpu.device import use_device
from tinymaskrcnn.nn import Module

# H100 SXM5, NVIDIA H100 Tensor Core GPU Architecture (2022), table 3: float32 without tensor cores.
PROCESSORS, FLOPS, BANDWIDTH = 132, 67e12, 3.35e12
BANDWIDTH_SHARE = 0.8  # the share that copies reach
# A thread reads eight values of shared memory for 16 multiply-adds. Per cycle, a processor's four
# schedulers start four multiply-adds and its one load unit one read: four cycles against eight.
TILE_SHARE = 0.5
TEACHING_SHARE = 1 / 8  # two reads (two cycles) for one multiply-add (a quarter of a cycle)


@dataclass
class Cost:
    """Sums over launches; seconds are those of the card alone."""

    launches: int = 0
    bytes: int = 0
    flops: int = 0
    seconds: float = 0.0

    def add(self, other: Cost) -> None:
        for name in vars(self):
            setattr(self, name, getattr(self, name) + getattr(other, name))


class PaperDevice:
    """Memory filled with one small number; kernels are only counted, by layer and by name."""

    def __init__(self) -> None:
        self.layer = "transform"
        self.by_layer: dict[str, Cost] = defaultdict(Cost)
        self.by_kernel: dict[str, Cost] = defaultdict(Cost)

    def allocate(self, size: int) -> np.ndarray:
        return np.full(size // 4, 0.01, np.float32).view(np.uint8)

    def view(self, block: Any, start: int, dtype: np.dtype, shape: tuple[int, ...]) -> Any:
        return block[start : start + prod(shape) * dtype.itemsize].view(dtype).reshape(shape)

    def upload(self, view: Any, host: np.ndarray) -> None:
        if host.dtype == np.int32:  # tables that tell a launch what to do
            view[...] = host

    def download(self, view: Any, host: np.ndarray) -> None:
        host[...] = view if host.dtype == np.float32 else 0

    def launch(self, kernel: Any, grid: tuple[int, ...], arguments: list[Any]) -> None:
        cost = cost_of(kernel.name, grid, arguments)
        self.by_layer[self.layer].add(cost)
        self.by_kernel[kernel.name].add(cost)


def cost_of(name: str, grid: tuple[int, ...], arguments: list[Any]) -> Cost:
    """The cost of one launch. An array that is passed twice counts once. For a 3x3 kernel, a gather
    reads its map nine times, but from the cache.
    """
    arrays = {a.__array_interface__["data"][0]: a for a in arguments if isinstance(a, np.ndarray)}
    moved = sum(a.nbytes for a in arrays.values())
    flops, share = executed(name, grid, arguments)
    busy = min(1.0, prod(grid) / PROCESSORS)
    seconds = flops / (FLOPS * share * busy)
    if name == "orthogonalize.products":  # its blocks differ: it lasts as long as the longest
        longest = 2 * 64 * 64 * _whole_tiles(int(arguments[4][:, 2].max(initial=0)))
        seconds = max(flops, longest * PROCESSORS) / (FLOPS * share)
    return Cost(1, moved, flops, max(moved / (BANDWIDTH * BANDWIDTH_SHARE), seconds))


def executed(name: str, grid: tuple[int, ...], arguments: list[Any]) -> tuple[int, float]:
    """The multiplications and additions of a product's blocks, and the share of the peak that they
    reach; 0 for other kernels, which are limited by memory.
    """
    if name in ("cuda_gemm.tiled", "cuda_gemm.teaching"):
        side, share = (64, TILE_SHARE) if name.endswith("tiled") else (16, TEACHING_SHARE)
        depth = int(arguments[4][2])
    elif name == "orthogonalize.products":
        return 2 * 64 * 64 * int(_whole_tiles(arguments[4][:, 2]).sum()), TILE_SHARE
    elif name == "conv2d.gather":
        side, share, depth = 64, TILE_SHARE, arguments[1].shape[1]
    elif name == "conv2d.grad_weight":
        side, share, depth = 64, TILE_SHARE, int(arguments[4])
    else:
        return 0, 1.0
    return 2 * prod(grid) * side * side * _whole_tiles(depth), share


def _whole_tiles(depth: Any) -> Any:
    return -(-depth // 16) * 16


@contextmanager
def layers_named(device: PaperDevice, model: Module, depth: int = 3) -> Iterator[None]:
    """Within this context, the device knows which layer of the model is running."""
    names = {id(m): ".".join(name.split(".")[:depth]) for name, m in model.named_modules()}
    original = Module.__call__

    def named(module: Module, *arguments: Any, **settings: Any) -> Any:
        before, device.layer = device.layer, names.get(id(module)) or device.layer
        try:
            return original(module, *arguments, **settings)
        finally:
            device.layer = before

    Module.__call__ = named  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Module.__call__ = original  # type: ignore[method-assign]


def count(case: str) -> PaperDevice:
    """Run a case on the counting device: "tiny" and "resnet50" predict a second image, "step"
    trains the tiny model on 16.
    """
    device = PaperDevice()
    with use_device(device):
        if case == "step":
            model, data = tm.maskrcnn_tiny(), tm.ToyShapes(16, min_objects=1)
            images, targets = zip(*(data[i] for i in range(16)), strict=True)
        elif case == "tiny":
            model, images = tm.maskrcnn_tiny(), [np.zeros((3, 128, 128), np.float32)]
        else:
            model, images = tm.maskrcnn_resnet50_fpn(), [np.zeros((3, 800, 1066), np.float32)]
        model.to("cuda")
        with layers_named(device, model):
            if case == "step":
                optimizer = tm.Muon(model.parameters(), lr=0.05, momentum=0.9)
                losses = model(images, targets)
                device.layer = "backward"
                sum(losses.values()).backward()
                device.layer = "optimizer"
                optimizer.step()
            else:
                model.eval()
                model(images)  # packs the weights, which it then keeps
                device.by_layer.clear(), device.by_kernel.clear()
                device.layer = "transform"
                model(images)
    return device


def table(costs: dict[str, Cost], launch: float) -> Iterator[str]:
    yield f"{'':<34}{'launches':>9}{'MB':>9}{'GFLOP':>9}{'card ms':>9}{'launch ms':>11}"
    total = Cost()
    for name, cost in costs.items():
        yield row(name, cost, launch)
        total.add(cost)
    yield row("all", total, launch)


def row(name: str, cost: Cost, launch: float) -> str:
    card, host = 1e3 * cost.seconds, 1e3 * launch * cost.launches
    sizes = f"{cost.bytes / 1e6:>9.1f}{cost.flops / 1e9:>9.2f}"
    slow = "  waits for launches" if host > card else ""
    return f"{name:<34}{cost.launches:>9}{sizes}{card:>9.3f}{host:>11.3f}{slow}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", default=["tiny", "resnet50", "step"])
    parser.add_argument("--launch-us", type=float, default=50, help="the host's time per launch")
    options = parser.parse_args()
    for case in options.cases:
        device = count(case)
        for kind, costs in (("layer", device.by_layer), ("kernel", device.by_kernel)):
            ordered = dict(sorted(costs.items(), key=lambda item: -item[1].seconds))
            print(f"{case}, by {kind}; a launch takes the host {options.launch_us:g} us (assumed)")
            print("\n".join(table(costs if kind == "layer" else ordered, options.launch_us * 1e-6)))
            print()


if __name__ == "__main__":
    main()
