"""Data-parallel training steps: `python -m tests.benchmarks.ranks [--model tiny] [--steps N]`.

Measured, on this machine: a training step of one process with T threads, and of T ranks with one
thread each, in turn; how much of it a rank waits for others, and how much it would wait if it did
not send gradients while backward runs. Needs mpi4py and mpiexec.

Computed, not measured: a step of n ranks on one machine each. It follows from the bytes of
gradients that a step sends, the time that one machine needs for its share, and a ring, in which
each of n ranks sends and receives 2 (n - 1) / n of the bytes. Sending early hides as much as fits
into backward, two thirds of a step; a rank waits for the rest, and for 2 (n - 1) hops of latency.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from tinymaskrcnn import parallel
from tinymaskrcnn.datasets import ToyShapes
from tinymaskrcnn.models import builders
from tinymaskrcnn.optim import SGD
from tinymaskrcnn.training.distributed import GradientSums, MPIGroup, gradient_sums, world

BACKWARD = 2 / 3  # share of a step's time
HOP = 20e-6  # seconds for a message to the next rank, over Ethernet
GIGABIT = 1e9 / 8  # bytes per second
MODELS = {"tiny": ("maskrcnn_tiny", 128, 8), "resnet50": ("maskrcnn_resnet50_fpn", 480, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--model", choices=MODELS, default="tiny")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument(
        "--step-seconds", type=float, help="one machine's step, to compute more ranks"
    )
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.model, options.steps, overlap=options.worker == "overlap")
        return
    figures = measure(options) if not options.step_seconds else {}
    seconds = options.step_seconds or figures["one process"]["seconds"]
    figures["paper"] = paper(options.model, seconds)
    print_paper(options.model, seconds, figures["paper"])
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def work(name: str, steps: int, overlap: bool) -> None:
    """Train, under mpiexec or alone, and print a step's times as JSON."""
    builder, size, batch_size = MODELS[name]
    group = world()
    model = getattr(builders, builder)(4, min_size=size, max_size=2 * size).train()
    optimizer = SGD(model.parameters(), lr=1e-4, momentum=0.9)
    sums = (
        GradientSums(optimizer.parameters(), group, overlap)
        if isinstance(group, MPIGroup)
        else gradient_sums(optimizer.parameters(), group)
    )
    shapes = ToyShapes(batch_size, size=size, min_objects=2)
    rows = []
    with parallel.shared_by(group):
        part = [shapes[i] for i in parallel.share(batch_size)]
        images, targets = [image for image, _ in part], [target for _, target in part]
        for step in range(steps + 3):
            rngs = np.random.default_rng(step).spawn(len(images))
            waited, start = group.seconds, perf_counter()
            losses = model(images, targets, rngs)
            sums.backward(sum(losses.values()))
            optimizer.step()
            optimizer.zero_grad()
            rows.append((perf_counter() - start, group.seconds - waited))
    seconds, waits = np.median(rows[3:], axis=0)  # the first steps compile and fill caches
    if group.leads:
        print(json.dumps({"seconds": float(seconds), "waited": float(waits)}))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Medians over rounds; in each round every variant has its turn."""
    ways = {"one process": (0, os.cpu_count() or 1, "overlap")}
    for ranks in options.ranks:
        ways[f"{ranks} rank(s)"] = (ranks, 1, "overlap")
        if ranks > 1:
            ways[f"{ranks} ranks, sent after backward"] = (ranks, 1, "after")
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for _ in range(options.rounds):
        for way, settings in ways.items():
            found[way].append(run(options, *settings))
    print(f"{options.model}: a step of {MODELS[options.model][2]} pictures")
    figures = {}
    for way, rows in found.items():
        figures[way] = {k: statistics.median(row[k] for row in rows) for k in rows[0]}
        seconds, waited = figures[way]["seconds"], figures[way]["waited"]
        print(f"{way:32} {1000 * seconds:8.1f} ms, waiting {waited / seconds:5.1%}")
    return figures


def run(options: argparse.Namespace, ranks: int, threads: int, how: str) -> dict[str, float]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    launcher = [str(shutil.which("mpiexec", path=path)), "-n", str(ranks)] if ranks else []
    worker = ["--worker", how, "--model", options.model, "--steps", str(options.steps)]
    environment = os.environ | {"NUMBA_NUM_THREADS": str(threads)}
    command = [*launcher, sys.executable, "-m", __spec__.name, *worker]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def gradient_bytes(name: str) -> int:
    """The bytes of the gradients of all trained parameters."""
    model = getattr(builders, MODELS[name][0])(91 if name == "resnet50" else 4)
    return 4 * sum(p.size for p in model.parameters() if p.requires_grad)


def paper(name: str, step: float) -> list[dict[str, float]]:
    """Steps of n ranks, each with as many images as one machine alone has (weak scaling)."""
    size = gradient_bytes(name)
    rows = []
    for gigabits in (10, 100):
        for ranks in (8, 16, 32, 64, 128, 256):
            ring = 2 * (ranks - 1) / ranks * size / (gigabits * GIGABIT) + 2 * (ranks - 1) * HOP
            waited = max(0.0, ring - BACKWARD * step)
            rows.append(
                {
                    "ranks": ranks,
                    "gigabits": gigabits,
                    "megabytes": size / 1e6,
                    "ring": ring,
                    "efficiency": step / (step + waited),
                    "without_overlap": step / (step + ring),
                }
            )
    return rows


def print_paper(name: str, step: float, rows: list[dict[str, float]]) -> None:
    print(f"\non paper: {name}, {rows[0]['megabytes']:.1f} MB of gradients, {step:.2f} s a step")
    print(f"{'ranks':>6} {'Gbit/s':>7} {'ring ms':>8} {'efficiency':>11} {'without overlap':>16}")
    for row in rows:
        print(
            f"{row['ranks']:6.0f} {row['gigabits']:7.0f} {1000 * row['ring']:8.1f} "
            f"{row['efficiency']:11.1%} {row['without_overlap']:16.1%}"
        )


if __name__ == "__main__":
    main()
