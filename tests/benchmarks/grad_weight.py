"""Weight gradients against torch: `python tests/benchmarks/grad_weight.py [--peer PYTHON] [names]`.

The layers of the small model in training and of ResNet-50-FPN at 480x640, batch 2, then fully
connected layers (all three products). Each round runs both libraries in fresh processes, one after
the other; inputs are the same, and before any time is believed the results must agree. A time is
the median of a round's calls, then of the rounds; the ratio is the median over rounds of torch's
time / ours. With --threads 1 times are processor time, which other programs disturb least. GF/s
counts direct sums. Needs torch in the interpreter PYTHON (default: this one).
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
    "tiny stem 3x3 s2": ((16, 64, 64, 3), 32, 3, 2),
    "tiny 3x3 s2 32>64": ((16, 32, 32, 32), 64, 3, 2),
    "tiny 3x3 64 32x32": ((8, 32, 32, 64), 64, 3, 1),
    "tiny 3x3 64 16x16": ((16, 16, 16, 64), 64, 3, 1),
    "tiny 3x3 64 8x8": ((8, 8, 8, 64), 64, 3, 1),
    "tiny 3x3 64 4x4": ((8, 4, 4, 64), 64, 3, 1),
    "tiny 3x3 96>128 8x8": ((16, 8, 8, 96), 128, 3, 1),
    "tiny 1x1 32>64 32x32": ((16, 32, 32, 32), 64, 1, 1),
    "tiny 1x1 128>64 8x8": ((16, 8, 8, 128), 64, 1, 1),
    "tiny mask 96x14x14": ((96, 14, 14, 64), 64, 3, 1),
    "stem 7x7 s2": ((2, 480, 640, 3), 64, 7, 2),
    "l1 3x3 64": ((2, 120, 160, 64), 64, 3, 1),
    "l2 3x3 128": ((2, 60, 80, 128), 128, 3, 1),
    "l2 3x3 s2 128": ((2, 120, 160, 128), 128, 3, 2),
    "l3 3x3 256": ((2, 30, 40, 256), 256, 3, 1),
    "l3 3x3 s2 256": ((2, 60, 80, 256), 256, 3, 2),
    "l4 3x3 512": ((2, 15, 20, 512), 512, 3, 1),
    "FPN 3x3 P3": ((2, 60, 80, 256), 256, 3, 1),
    "FPN 3x3 P2": ((2, 120, 160, 256), 256, 3, 1),
    "l1 1x1 64>256": ((2, 120, 160, 64), 256, 1, 1),
    "l1 1x1 256>64": ((2, 120, 160, 256), 64, 1, 1),
    "l2 1x1 128>512": ((2, 60, 80, 128), 512, 1, 1),
    "l2 shortcut 256>512": ((2, 120, 160, 256), 512, 1, 2),
    "l3 1x1 1024>256": ((2, 30, 40, 1024), 256, 1, 1),
    "l4 1x1 512>2048": ((2, 15, 20, 512), 2048, 1, 1),
    "FPN lateral P2": ((2, 120, 160, 256), 256, 1, 1),
}
LINEAR = {  # rois, features, outputs
    "tiny fc6": (512, 3136, 256),
    "tiny fc7": (512, 256, 256),
    "fc6": (1024, 12544, 1024),
    "fc7": (1024, 1024, 1024),
}
PRODUCTS = ("forward", "dx", "dw")


def layer(name):
    """(our call, torch's call, GFLOP); both give dw (O, C, kH, kW)."""
    (n, h, w, c), outs, kernel, stride = LAYERS[name]
    rng, padding = np.random.default_rng(0), kernel // 2
    out_h, out_w = ((size + 2 * padding - kernel) // stride + 1 for size in (h, w))
    x = rng.standard_normal((n, h, w, c), np.float32)
    grad = rng.standard_normal((n, out_h, out_w, outs), np.float32)
    shape = (outs, c, kernel, kernel)

    def ours():
        from tinymaskrcnn.ops.conv2d import cpu

        settings = (stride, stride), (padding, padding), (1, 1), 1
        return lambda: cpu.conv2d_grad_weight(grad, x, shape, *settings)

    def theirs():
        import torch

        pictures = [torch.from_numpy(a).permute(0, 3, 1, 2).contiguous() for a in (grad, x)]
        settings = [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1, [False, True, False]
        backward = torch.ops.aten.convolution_backward
        return lambda: backward(*pictures, torch.empty(shape), None, *settings)[1]

    return ours, theirs, 2e-9 * n * out_h * out_w * outs * c * kernel**2


def linear(name, product):
    """The same for a product of a fully connected layer."""
    rows, ins, outs = LINEAR[name]
    rng = np.random.default_rng(0)
    shapes = (rows, ins), (outs, ins), (rows, outs)
    x, weight, grad = (rng.standard_normal(shape, np.float32) for shape in shapes)

    def ours():
        from tinymaskrcnn.ops.linear import cpu

        return {
            "forward": lambda: cpu.linear(x, weight, None, False),
            "dx": lambda: cpu.linear_grad_input(grad, weight),
            "dw": lambda: cpu.linear_grad_weight(grad, x),
        }[product]

    def theirs():
        import torch

        a, b, g = (torch.from_numpy(array) for array in (x, weight, grad))
        return {"forward": lambda: a @ b.T, "dx": lambda: g @ b, "dw": lambda: g.T @ a}[product]

    return ours, theirs, 2e-9 * rows * ins * outs


CASES = {name: lambda name=name: layer(name) for name in LAYERS} | {
    f"{name} {product}": lambda name=name, product=product: linear(name, product)
    for name in LINEAR
    for product in PRODUCTS
}


def measure(side, names, seconds, threads):
    """For each case: the median milliseconds of a call, and numbers that tell the result."""
    if side == "ours":
        from tinymaskrcnn.jit import set_threads as limit
    else:
        from torch import set_num_threads as limit
    limit(threads)
    clock = time.thread_time if threads == 1 else time.perf_counter
    rows = {}
    for name in names:
        call = CASES[name]()[0 if side == "ours" else 1]()
        for _ in range(2):  # compiles, faults pages in
            result = np.asarray(call(), np.float64)
        times, stop = [], time.perf_counter() + seconds
        while time.perf_counter() < stop or len(times) < 3:
            start = clock()
            call()
            times.append(1e3 * (clock() - start))
        weights = np.cos(np.arange(result.size) % 1013)
        size = float(np.sqrt((result**2).sum()))
        rows[name] = [statistics.median(times), size, float(result.ravel() @ weights)]
    return rows


def run(side, python, names, arguments):
    """`measure` in a process of its own."""
    settings = ["--seconds", str(arguments.seconds), "--threads", str(arguments.threads)]
    command = [python, __file__, "--side", side, *settings, *names]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=[])
    parser.add_argument("--peer", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--side", choices=["ours", "theirs"])
    arguments = parser.parse_args()
    names = [n for n in CASES if not arguments.names or any(part in n for part in arguments.names)]
    if arguments.side:
        rows = measure(arguments.side, names, arguments.seconds, arguments.threads)
        print(json.dumps(rows))
        return
    rounds = [
        (
            run("ours", sys.executable, names, arguments),
            run("theirs", arguments.peer, names, arguments),
        )
        for _ in range(arguments.rounds)
    ]
    print(f"{'':24}{'GF':>8}{'ours ms':>10}{'GF/s':>7}{'torch ms':>10}{'ratio':>7}")
    for name in names:
        ours, theirs = ([r[side][name] for r in rounds] for side in (0, 1))
        if any(
            abs(a - b) > 1e-4 * theirs[0][1]
            for a, b in zip(ours[0][1:], theirs[0][1:], strict=True)
        ):
            raise SystemExit(f"{name}: results differ: {ours[0][1:]} and {theirs[0][1:]}")
        ratio = statistics.median(b[0] / a[0] for a, b in zip(ours, theirs, strict=True))
        mine, peer = (statistics.median(row[0] for row in side) for side in (ours, theirs))
        work = CASES[name]()[2]
        print(f"{name:24}{work:8.2f}{mine:10.3f}{1e3 * work / mine:7.0f}{peer:10.3f}{ratio:7.2f}")


if __name__ == "__main__":
    main()
