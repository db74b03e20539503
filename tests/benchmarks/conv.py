"""Convolution layers against the processor's peak, and against torch.

`python tests/benchmarks/conv.py [--passes forward,dx,dw] [--peer PYTHON] [--rounds 3] [names]`

The layers of ResNet-50-FPN at 800x1088 and of the small model in training. Results are first
compared with the reference on a piece of each layer. Each round measures in a fresh process, with
`--peer` (an interpreter that has torch) alternately with torch: convolution, batch norm and ReLU
against our fused one. Times are the best of a round's calls, then the median over rounds. GF/s
counts direct sums, so Winograd may pass the peak, which is that of fused multiply-adds on all
threads, measured in the same process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

import numpy as np

LAYERS = {  # x (N, H, W, C), output channels, kernel, stride
    "stem 7x7 s2": ((1, 800, 1088, 3), 64, 7, 2),
    "l1 1x1 64>64": ((1, 200, 272, 64), 64, 1, 1),
    "l1 3x3 64": ((1, 200, 272, 64), 64, 3, 1),
    "l1 1x1 64>256": ((1, 200, 272, 64), 256, 1, 1),
    "l1 1x1 256>64": ((1, 200, 272, 256), 64, 1, 1),
    "l2 1x1 256>128": ((1, 200, 272, 256), 128, 1, 1),
    "l2 3x3 s2 128": ((1, 200, 272, 128), 128, 3, 2),
    "l2 shortcut 256>512": ((1, 200, 272, 256), 512, 1, 2),
    "l2 3x3 128": ((1, 100, 136, 128), 128, 3, 1),
    "l2 1x1 128>512": ((1, 100, 136, 128), 512, 1, 1),
    "l2 1x1 512>128": ((1, 100, 136, 512), 128, 1, 1),
    "l3 3x3 s2 256": ((1, 100, 136, 256), 256, 3, 2),
    "l3 3x3 256": ((1, 50, 68, 256), 256, 3, 1),
    "l3 1x1 256>1024": ((1, 50, 68, 256), 1024, 1, 1),
    "l3 1x1 1024>256": ((1, 50, 68, 1024), 256, 1, 1),
    "l4 3x3 s2 512": ((1, 50, 68, 512), 512, 3, 2),
    "l4 shortcut 1024>2048": ((1, 50, 68, 1024), 2048, 1, 2),
    "l4 3x3 512": ((1, 25, 34, 512), 512, 3, 1),
    "l4 1x1 512>2048": ((1, 25, 34, 512), 2048, 1, 1),
    "l4 1x1 2048>512": ((1, 25, 34, 2048), 512, 1, 1),
    "FPN lateral P2": ((1, 200, 272, 256), 256, 1, 1),
    "FPN 3x3 P2": ((1, 200, 272, 256), 256, 3, 1),
    "FPN 3x3 P3": ((1, 100, 136, 256), 256, 3, 1),
    "FPN 3x3 P4": ((1, 50, 68, 256), 256, 3, 1),
    "FPN 3x3 P5": ((1, 25, 34, 256), 256, 3, 1),
    "mask 3x3 100x14x14": ((100, 14, 14, 256), 256, 3, 1),
    "tiny stem 3x3 s2": ((8, 64, 64, 3), 32, 3, 2),
    "tiny 3x3 32 32x32": ((8, 32, 32, 32), 32, 3, 1),
    "tiny 3x3 s2 32>64": ((8, 32, 32, 32), 64, 3, 2),
    "tiny 3x3 64 32x32": ((8, 32, 32, 64), 64, 3, 1),
    "tiny 3x3 64 16x16": ((8, 16, 16, 64), 64, 3, 1),
    "tiny 3x3 64 8x8": ((8, 8, 8, 64), 64, 3, 1),
    "tiny 3x3 64 4x4": ((8, 4, 4, 64), 64, 3, 1),
    "tiny 3x3 128 8x8": ((8, 8, 8, 128), 128, 3, 1),
    "tiny 1x1 64>15 16x16": ((8, 16, 16, 64), 15, 1, 1),
    "tiny mask 96x14x14": ((96, 14, 14, 64), 64, 3, 1),
}
PASSES = ("forward", "dx", "dw")


def problem(name):
    """(x, weight, bias, grad, stride, padding, FLOPs) of a layer, the same in every process."""
    shape, outs, kernel, stride = LAYERS[name]
    rng, padding = np.random.default_rng(0), kernel // 2
    x = rng.standard_normal(shape, np.float32)
    weight = rng.standard_normal((outs, shape[3], kernel, kernel), np.float32) / kernel
    sides = [(side + 2 * padding - kernel) // stride + 1 for side in shape[1:3]]
    grad = rng.standard_normal((shape[0], *sides, outs), np.float32)
    bias = np.zeros(outs, np.float32)
    flops = 2 * weight[0].size * grad.size
    return x, weight, bias, grad, (stride, stride), (padding, padding), flops


def our_call(name, which):
    from tinymaskrcnn.ops.conv2d import cpu

    x, weight, bias, grad, stride, padding, _ = problem(name)
    geometry = stride, padding, (1, 1), 1
    if which == "forward":
        weight.flags.writeable = False  # as in inference: packed once
        return lambda: cpu.conv2d(x, weight, bias, None, *geometry, True)
    if which == "dx":
        return lambda: cpu.conv2d_grad_input(grad, weight, x.shape, *geometry)
    return lambda: cpu.conv2d_grad_weight(grad, x, weight.shape, *geometry)


def torch_call(name, which):
    import torch

    x, weight, bias, grad, stride, padding, _ = problem(name)
    first, slope = (torch.from_numpy(a).permute(0, 3, 1, 2).contiguous() for a in (x, grad))
    kernel = torch.from_numpy(weight)
    if which == "forward":
        ones, zeros = torch.ones(len(bias)), torch.from_numpy(bias)

        def forward():
            y = torch.nn.functional.conv2d(first, kernel, None, stride, padding)
            return torch.nn.functional.batch_norm(y, zeros, ones, ones, zeros).relu_()

        return torch.inference_mode()(forward)
    wanted = [which == "dx", which == "dw", False]
    rest = None, stride, padding, (1, 1), False, (0, 0), 1, wanted
    return lambda: torch.ops.aten.convolution_backward(slope, first, kernel, *rest)


def check(name):
    """Compare the layer's upper left corner with the reference in float64."""
    from tinymaskrcnn.ops.conv2d import cpu, reference

    x, weight, _, _, stride, padding, _ = problem(name)
    x = np.ascontiguousarray(x[:2, :12, :12])
    geometry = stride, padding, (1, 1), 1
    y = cpu.conv2d(x, weight, None, None, *geometry, False)
    wide, wide_weight = x.astype(np.float64), weight.astype(np.float64)
    pairs = [(y, reference.conv2d(wide, wide_weight, None, None, *geometry, False))]
    slope = y.astype(np.float64)
    dx = cpu.conv2d_grad_input(y, weight, x.shape, *geometry)
    pairs += [(dx, reference.conv2d_grad_input(slope, wide_weight, x.shape, *geometry))]
    dw = cpu.conv2d_grad_weight(y, x, weight.shape, *geometry)
    pairs += [(dw, reference.conv2d_grad_weight(slope, wide, weight.shape, *geometry))]
    for actual, expected in pairs:
        error = np.abs(actual - expected).max() / np.abs(expected).max()
        if not error < 5e-5:
            raise SystemExit(f"{name}: off by {error:.1e} of the largest value")


def best(call, seconds):
    """Shortest time of a call, in seconds, after two that warm up."""
    call(), call()
    times, stop = [], time.perf_counter() + seconds
    while time.perf_counter() < stop or len(times) < 3:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def measure_peak(seconds):
    """FLOP/s of independent fused multiply-adds on all threads, and of the register tile in cache
    as a share of that."""
    import fma
    from numba import get_num_threads

    threads, steps = get_num_threads(), 200_000
    peak = fma.FLOPS * steps * threads / best(lambda: fma.burn(threads, steps), seconds)
    tile = fma.TILE_FLOPS * 2000 * threads / best(lambda: fma.tiles(threads, 2000), seconds)
    return peak, tile / peak


def measure(side, names, passes, seconds):
    """{name: {pass: seconds}}, and our side's peak."""
    call = our_call if side == "ours" else torch_call
    rows = {n: {p: best(call(n, p), seconds) for p in passes} for n in names}
    return {"rows": rows, "peak": measure_peak(seconds) if side == "ours" else None}


def run(side, python, arguments, names):
    """`measure` in a process of its own."""
    command = [python, __file__, "--side", side, "--passes", arguments.passes]
    command += ["--seconds", str(arguments.seconds), *names]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def report(name, which, ours, theirs):
    """One line: milliseconds, GF/s, share of the peak, and the ratio to torch."""
    seconds = statistics.median(r["rows"][name][which] for r in ours)
    peak = statistics.median(r["peak"][0] for r in ours)
    rate = problem(name)[-1] / seconds
    line = f"{name:24}{which:>8}{1e3 * seconds:10.3f}{rate / 1e9:9.0f}{rate / peak:8.0%}"
    if theirs:
        pairs = [(a["rows"][name][which], b["rows"][name][which]) for a, b in zip(ours, theirs)]  # noqa: B905
        line += f"{1e3 * statistics.median(b for _, b in pairs):11.3f}"
        line += f"{statistics.median(b / a for a, b in pairs):8.2f}"
    print(line)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=[])
    parser.add_argument("--passes", default="forward")
    parser.add_argument("--peer")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.2)
    parser.add_argument("--side", choices=["ours", "theirs"])
    arguments = parser.parse_args()
    passes = arguments.passes.split(",")
    names = [n for n in LAYERS if not arguments.names or any(part in n for part in arguments.names)]
    if arguments.side:
        print(json.dumps(measure(arguments.side, names, passes, arguments.seconds)))
        return
    for name in names:
        check(name)
    ours, theirs = [], []
    for _ in range(arguments.rounds):
        ours.append(run("ours", sys.executable, arguments, names))
        if arguments.peer:
            theirs.append(run("theirs", arguments.peer, arguments, names))
    peak, share = (statistics.median(r["peak"][i] for r in ours) for i in (0, 1))
    print(f"peak {peak / 1e9:.0f} GF/s; register tile in cache {share:.0%} of it")
    print(f"{'layer':24}{'pass':>8}{'ms':>10}{'GF/s':>9}{'of peak':>8}{'torch ms':>11}{'ratio':>8}")
    for name in names:
        for which in passes:
            report(name, which, ours, theirs)


if __name__ == "__main__":
    main()
