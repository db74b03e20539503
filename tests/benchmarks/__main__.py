"""Measure the package and print tables; with --peer also torch, torchvision and CPU runtimes.

`python -m tests.benchmarks [--peer PYTHON] [--json FILE] [names]`. PYTHON is an interpreter that
has torch and torchvision; for the rows of ONNX Runtime also onnx and onnxruntime, for the
backbone's row any of these, openvino, ncnn with pnnx, MNN; missing programs are left out and named.
Every result is compared before its time counts: with the package's own reference kernels, then with
each peer. A ratio is their time / ours: the median over rounds, followed by the smallest and the
largest. GF/s count direct sums, so Winograd may exceed the peak, which is that of fused multiply-
adds on all threads in the same process. A row ends in ~ if other programs used more than a tenth of
a processor in most of its rounds. Names are parts of the names of rows or sections.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from tinymaskrcnn.files import mark, write_atomic

from . import SECTIONS, busy, playground, startup, video
from .case import Bound, Mismatch
from .harness import Row, Settings, Sides, judged, measure
from .scaling import TRENDS
from .table import header, line

TILE = Bound(0.90, 0.97)
PEAK_ROW = "peak: register tile in cache, share of fused multiply-adds"


def main() -> int:
    options = _options()
    names = _chosen(options.names)
    if options.list:
        print("\n".join(names))
        return 0
    if not names:
        print(f"no row is named {' or '.join(options.names)}; --list shows all", file=sys.stderr)
        return 2
    settings = Settings(
        options.peer, options.rounds, options.seconds, options.threads, options.patience
    )
    rows: list[Row] = []
    try:
        print(header(), flush=True)
        for row in _measured(names, settings):
            rows.append(row)
            print(line(row), flush=True)
    except Mismatch as problem:
        print(f"results differ, nothing is timed: {problem}", file=sys.stderr)
        return 1
    finally:
        if options.json:
            report = {"by": mark("bench"), "machine": machine(), "settings": vars(settings)}
            text = json.dumps(report | {"rows": rows}, indent=1) + "\n"
            write_atomic(Path(options.json), text.encode())
    below = [row["name"] for row in rows if row.get("met") is False]
    print(f"{len(rows)} rows; below must: {'; '.join(below) or 'none'}")
    return 0


def _options() -> argparse.Namespace:
    """The options of the command line.

    Raises:
        SystemExit: an option is impossible (status 2).
    """
    parser = _parser()
    options = parser.parse_args()
    if options.peer and not shutil.which(options.peer):
        parser.error(f"--peer {options.peer}: no such program")
    if not 1 <= options.threads <= cores():
        parser.error(f"--threads {options.threads}: expected 1 to {cores()}")
    if options.rounds < 1 or not 0 < options.seconds < 3600:
        parser.error("--rounds and --seconds must be above 0")
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", help="parts of names; all rows if none")
    parser.add_argument("--peer", metavar="PYTHON", help="interpreter that has torch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3, help="of timed calls per round")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument(
        "--patience",
        type=float,
        default=2.0,
        help="seconds that each timing may wait for other programs to leave the machine alone",
    )
    parser.add_argument("--json", metavar="FILE", help="write the rows there, too")
    parser.add_argument("--list", action="store_true", help="show the rows' names")
    return parser


def _chosen(parts: list[str]) -> list[str]:
    """The rows to measure, in order; a part may also be a section's whole name."""
    sections = {"peak": [PEAK_ROW], **SECTIONS, "start-up": startup.BOUNDS}
    sections |= {"busy": busy.BOUNDS, "video": video.BOUNDS, "play": playground.BOUNDS}
    return [
        name
        for section, rows in sections.items()
        for name in rows
        if not parts or any(part in name or part == section for part in parts)
    ]


def _measured(names: list[str], settings: Settings) -> Iterator[Row]:
    sides, seconds = Sides(settings), {}
    try:
        for cases in ({PEAK_ROW: None}, *SECTIONS.values()):
            for name in cases:
                if name not in names:
                    continue
                if name == PEAK_ROW:
                    yield _peak_row(settings, sides)
                    continue
                for row in measure(name, cases[name], settings, sides):
                    seconds.setdefault(row["name"], row.get("ours_ms"))
                    yield row
    finally:
        sides.close()
    for name, trend in TRENDS.items():
        if {trend.first, trend.second} <= seconds.keys():
            figure = seconds[trend.second] / seconds[trend.first] / trend.work
            yield {"name": name, "figure": figure} | judged(figure, trend.bound, smaller=True)
    for module in (startup, busy, video, playground):
        yield from module.rows([name for name in module.BOUNDS if name in names])


def _peak_row(settings: Settings, sides: Sides) -> Row:
    ours = sides.get("ours", settings.threads)
    peak, tile = (
        max(ours.ask(what, seconds=0.3) for _ in range(settings.rounds))
        for what in ("peak", "tile")
    )
    row = {"name": PEAK_ROW, "gflops": tile / 1e9, "peak_gflops": peak / 1e9}
    return row | {"figure": tile / peak} | judged(tile / peak, TILE)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> Row:
    """The machine and the versions that the figures depend on."""
    model = platform.processor()
    if os.path.exists("/proc/cpuinfo"):
        for entry in Path("/proc/cpuinfo").read_text().splitlines():
            if entry.startswith("model name"):
                model = entry.partition(":")[2].strip()
                break
    return {
        "processor": model,
        "cores": cores(),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "numba", "llvmlite")},
    }


if __name__ == "__main__":
    sys.exit(main())
