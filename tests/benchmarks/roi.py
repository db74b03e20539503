"""Region operations against torchvision: `python tests/benchmarks/roi.py [--peer PYTHON] [names]`.

Each round runs both libraries in fresh processes, one after the other (in one process their thread
pools get in each other's way). Inputs are the same; before any time is believed, the results must
agree. The ratio is the median over rounds of torchvision's time / ours; a time is the median of a
round's repetitions. Needs torch and torchvision in the interpreter PYTHON (default: this one).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np


def draw_boxes(rng: np.random.Generator, count: int, height: float, width: float, largest: float):
    """Boxes (count, 4) inside a picture, sides 4 to `largest`."""
    sides = rng.uniform(4, largest, (count, 2))
    start = rng.uniform(0, 1, (count, 2)) * np.maximum((width, height) - sides, 0)
    return np.concatenate((start, np.minimum(start + sides, (width, height))), 1).astype(np.float32)


def draw_rois(rng, count, images, height, width, largest):
    """The same as rois (count, 5) over `images` images."""
    index = np.sort(rng.integers(0, images, count))
    return np.column_stack((index, draw_boxes(rng, count, height, width, largest))).astype("f4")


def align_case(count, output, shape, scale, largest, sampling=2, backward=False):
    """RoIAlign of `count` rois to output x output on features `shape`, or its backward pass."""
    rng = np.random.default_rng(0)
    images, height, width, channels = shape
    features = rng.standard_normal(shape, dtype=np.float32)
    rois = draw_rois(rng, count, images, height / scale, width / scale, largest)
    grad = rng.standard_normal((count, output, output, channels), dtype=np.float32)
    settings = ((output, output), scale, sampling, False)

    def ours():
        from tinymaskrcnn.ops.roi_align import cpu

        if backward:
            return lambda: cpu.roi_align_grad(grad, shape, rois, *settings)
        return lambda: cpu.roi_align(features, rois, *settings)

    def theirs():
        import torch
        import torchvision

        first = torch.from_numpy(features).permute(0, 3, 1, 2).contiguous()
        boxes, slope = torch.from_numpy(rois), torch.from_numpy(grad).permute(0, 3, 1, 2)
        if not backward:
            pool = torchvision.ops.roi_align
            return lambda: pool(first, boxes, output, scale, sampling).permute(0, 2, 3, 1)
        pool, size = torch.ops.torchvision._roi_align_backward, first.shape
        slope = slope.contiguous()
        rest = (scale, output, output, *size, sampling, False)
        return lambda: pool(slope, boxes, *rest).permute(0, 2, 3, 1)

    return ours, theirs


def nms_case(count, labels=0):
    """NMS of clustered boxes, of one class or of `labels`."""
    rng = np.random.default_rng(1)
    boxes = draw_boxes(rng, count, 800, 1066, 200)
    scores = rng.permutation(count).astype(
        np.float32
    )  # no ties: torchvision leaves their order open
    classes = rng.integers(0, max(labels, 1), count)

    def ours():
        from tinymaskrcnn.ops.nms import cpu

        if labels:
            return lambda: cpu.batched_nms(boxes, scores, classes, 0.5)
        return lambda: cpu.nms(boxes, scores, 0.5)

    def theirs():
        import torch
        from torchvision.ops import batched_nms, nms

        arrays = [torch.from_numpy(x) for x in (boxes, scores, classes)]
        return lambda: batched_nms(*arrays, 0.5) if labels else nms(*arrays[:2], 0.5)

    return ours, theirs


def iou_case(rows, columns):
    """IoU of `rows` boxes with `columns` boxes."""
    rng = np.random.default_rng(2)
    a, b = (draw_boxes(rng, n, 800, 1066, 300) for n in (rows, columns))

    def ours():
        from tinymaskrcnn.ops.box_iou import cpu

        return lambda: cpu.box_iou(a, b)

    def theirs():
        import torch
        from torchvision.ops import box_iou

        first, second = torch.from_numpy(a), torch.from_numpy(b)
        return lambda: box_iou(first, second)

    return ours, theirs


def paste_case(count, height, width, binary=False):
    """`count` 28x28 masks into pictures, as floats or (ours) straight to bool."""
    rng = np.random.default_rng(3)
    masks = rng.random((count, 28, 28), dtype=np.float32)
    boxes = draw_boxes(rng, count, height, width, 0.5 * height)

    def ours():
        from tinymaskrcnn.ops.paste_masks import cpu

        if binary:
            return lambda: cpu.paste_masks_binary(masks, boxes, height, width, 0.5)
        return lambda: cpu.paste_masks(masks, boxes, height, width)

    def theirs():
        import torch
        from torchvision.models.detection.roi_heads import paste_masks_in_image

        first, second = torch.from_numpy(masks)[:, None], torch.from_numpy(boxes)

        def paste():
            pictures = paste_masks_in_image(first, second, (height, width))[:, 0]
            return pictures > 0.5 if binary else pictures

        return paste

    return ours, theirs


CASES: dict[str, Callable[[], tuple[Callable, Callable]]] = {
    "align 1000x7x7x256": lambda: align_case(1000, 7, (1, 200, 272, 256), 1 / 4, 112),
    "align 100x14x14x256": lambda: align_case(100, 14, (1, 200, 272, 256), 1 / 4, 112),
    "align back 512x7x7x256": lambda: align_case(
        512, 7, (1, 200, 272, 256), 1 / 4, 112, backward=True
    ),
    "align 512x7x7x64 tiny": lambda: align_case(512, 7, (4, 32, 32, 64), 1 / 4, 64),
    "align back 512x7x7x64 tiny": lambda: align_case(
        512, 7, (4, 32, 32, 64), 1 / 4, 64, backward=True
    ),
    "align 128x14x14x64 tiny": lambda: align_case(128, 14, (4, 32, 32, 64), 1 / 4, 64),
    "align back 128x14x14x64 tiny": lambda: align_case(
        128, 14, (4, 32, 32, 64), 1 / 4, 64, backward=True
    ),
    "align 64x7x7x64 on 4x4": lambda: align_case(64, 7, (4, 4, 4, 64), 1 / 32, 128),
    "align bitmaps 128x28x28 adaptive": lambda: align_case(
        128, 28, (24, 128, 128, 1), 1.0, 64, sampling=-1
    ),
    "nms 1000": lambda: nms_case(1000),
    "nms 6000": lambda: nms_case(6000),
    "batched nms 4700, 5 labels": lambda: nms_case(4700, 5),
    "batched nms 800, 80 labels": lambda: nms_case(800, 80),
    "batched nms 6000, 90 labels": lambda: nms_case(6000, 90),
    "iou 20x100k": lambda: iou_case(20, 100_000),
    "iou 6x4k": lambda: iou_case(6, 4000),
    "paste 100x800x1066": lambda: paste_case(100, 800, 1066),
    "paste 10x128x128": lambda: paste_case(10, 128, 128),
    "paste binary 100x800x1066": lambda: paste_case(100, 800, 1066, binary=True),
}


def measure(side: str, names: list[str], seconds: float) -> dict[str, Any]:
    """For each case: the median milliseconds of a call, and numbers that tell the result."""
    rows = {}
    for name in names:
        call = CASES[name]()[0 if side == "ours" else 1]()
        for _ in range(2):  # compiles, faults pages in
            result = np.asarray(call(), dtype=np.float64)
        times, stop = [], time.perf_counter() + seconds
        while time.perf_counter() < stop or len(times) < 3:
            start = time.perf_counter()
            call()
            times.append(1e3 * (time.perf_counter() - start))
        weights = np.cos(np.arange(result.size) % 1013)
        rows[name] = [statistics.median(times), result.size, float(result.ravel() @ weights)]
    return rows


def run(side: str, python: str, names: list[str]) -> dict[str, Any]:
    """`measure` in a process of its own."""
    command = [python, __file__, "--side", side, *names]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=[])
    parser.add_argument("--peer", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.3)
    parser.add_argument("--side", choices=["ours", "theirs"])
    arguments = parser.parse_args()
    names = [n for n in CASES if not arguments.names or any(part in n for part in arguments.names)]
    if arguments.side:
        print(json.dumps(measure(arguments.side, names, arguments.seconds)))
        return
    rounds = [
        (run("ours", sys.executable, names), run("theirs", arguments.peer, names))
        for _ in range(arguments.rounds)
    ]
    print(f"{'':34}{'ours ms':>10}{'theirs ms':>11}{'ratio':>8}")
    for name in names:
        ours, theirs = ([r[side][name] for r in rounds] for side in (0, 1))
        if ours[0][1] != theirs[0][1] or abs(ours[0][2] - theirs[0][2]) > 1e-3 * ours[0][1] ** 0.5:
            raise SystemExit(f"{name}: results differ: {ours[0][1:]} and {theirs[0][1:]}")
        ratio = statistics.median(b[0] / a[0] for a, b in zip(ours, theirs, strict=True))
        times = (statistics.median(row[0] for row in side) for side in (ours, theirs))
        print("{:34}{:10.3f}{:11.3f}{:8.1f}".format(name, *times, ratio))


if __name__ == "__main__":
    main()
