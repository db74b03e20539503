"""Whole models: `python -m tests.benchmarks.model [--peer PYTHON] [--device cuda] [names]`.

Inference of ResNet-50-FPN at two sizes with 100 detections, inference and one training step of the
tiny model. With --peer, an interpreter that has torch and torchvision, torchvision runs the same
weights on the same picture in processes of its own, alternately; the ratio is the median over
rounds of torchvision's time / ours. Both sides report what they found, and must agree on its size.
With --device cuda ours runs on the GPU; tests.benchmarks.gpu_estimate says what to expect.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

WEIGHTS = Path(tempfile.gettempdir()) / "tinymaskrcnn_benchmark.safetensors"


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).random((3, height, width), np.float32)


def resnet50(height: int, width: int, peer: bool, device: str = "cpu") -> Callable[[], int]:
    """Inference of one picture, every one of 100 detections through the mask head."""
    settings = {"min_size": height, "max_size": 1333, "box_score_thresh": 0.0}
    image = picture(height, width)
    if peer:
        import torch
        from safetensors.torch import load_file
        from torchvision.models.detection import maskrcnn_resnet50_fpn
        from torchvision.ops.misc import FrozenBatchNorm2d

        model = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, **settings)
        freeze(model, torch.nn.BatchNorm2d, lambda c: FrozenBatchNorm2d(c, eps=1e-5))
        model.load_state_dict(load_file(WEIGHTS))
        model.eval()
        with torch.inference_mode():
            tensor = torch.from_numpy(image)
            return lambda: len(model([tensor])[0]["masks"])
    import tinymaskrcnn as tm

    ours = tm.maskrcnn_resnet50_fpn(norm_eps=1e-5, **settings).eval()
    tm.save_weights(WEIGHTS, ours.state_dict())
    ours.to(device)
    return lambda: len(ours([image])[0]["masks"])


def freeze(module, kind, make) -> None:
    """Replace torchvision's trainable norms, which it builds where no weights are asked for."""
    for name, child in module.named_children():
        if isinstance(child, kind):
            setattr(module, name, make(child.num_features))
        else:
            freeze(child, kind, make)


def tiny_inference(size: int, device: str) -> Callable[[], int]:
    import tinymaskrcnn as tm

    model = tm.maskrcnn_tiny(min_size=size, max_size=size, box_score_thresh=0.0).eval()
    model.to(device)
    image = picture(size, size)
    return lambda: len(model([image])[0]["masks"])


def tiny_step(count: int, device: str) -> Callable[[], int]:
    import tinymaskrcnn as tm

    model, data = tm.maskrcnn_tiny().to(device), tm.ToyShapes(count, min_objects=1)
    images, targets = zip(*(data[i] for i in range(count)), strict=True)
    optimizer = tm.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def step() -> int:
        sum(model(images, targets).values()).backward()
        optimizer.step()
        optimizer.zero_grad()
        return count

    return step


CASES: dict[str, Callable[[bool, str], Callable[[], int]]] = {
    "tiny inference 128x128": lambda peer, device: tiny_inference(128, device),
    "tiny training step, 16 pictures 128x128": lambda peer, device: tiny_step(16, device),
    "resnet50 inference 480x640": lambda peer, device: resnet50(480, 640, peer, device),
    "resnet50 inference 800x1066": lambda peer, device: resnet50(800, 1066, peer, device),
}


def measure(name: str, peer: bool, seconds: float, device: str) -> dict[str, float]:
    """Median and minimum of repeated calls after two to warm up, and the peak of memory."""
    run = CASES[name](peer, device)
    found, times = run(), []
    run()
    while sum(times) < seconds or len(times) < 3:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    median = statistics.median(times)
    return {"found": found, "median": median, "minimum": min(times), "peak_mb": peak}


def in_a_process(
    python: str, name: str, peer: bool, seconds: float, device: str
) -> dict[str, float]:
    command = [python, "-m", "tests.benchmarks.model", name, "--seconds", str(seconds)]
    command += ["--device", device]
    side = ["--side", "theirs" if peer else "ours"]
    done = subprocess.run([*command, *side], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(name: str, peer: str | None, rounds: int, seconds: float, device: str) -> str:
    ratios, ours, theirs = [], {}, {}
    for _ in range(rounds):
        ours = in_a_process(sys.executable, name, False, seconds, device)
        if peer and name.startswith("resnet50"):
            theirs = in_a_process(peer, name, True, seconds, device)
            if theirs["found"] != ours["found"]:
                raise SystemExit(f"{name}: found {ours['found']} and {theirs['found']}")
            ratios.append(theirs["median"] / ours["median"])
    line = f"{name:42s} {1000 * ours['median']:8.0f} ms  peak {ours['peak_mb']:5.0f} MB"
    if ratios:
        line += f"  torchvision {1000 * theirs['median']:8.0f} ms, {theirs['peak_mb']:5.0f} MB"
        line += f"  ratio {statistics.median(ratios):.2f}"
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="parts of names of cases; all if none")
    parser.add_argument("--peer", help="interpreter that has torch and torchvision")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="of our side")
    parser.add_argument("--side", choices=["ours", "theirs"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        (name,) = options.names
        print(json.dumps(measure(name, options.side == "theirs", options.seconds, options.device)))
        return
    for name in CASES:
        if not options.names or any(part in name for part in options.names):
            settings = options.peer, options.rounds, options.seconds, options.device
            print(compare(name, *settings), flush=True)


if __name__ == "__main__":
    main()
