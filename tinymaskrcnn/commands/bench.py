"""`tinymaskrcnn bench`: the benchmarks of a clone, in a process of their own."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from ..errors import InputError
from ..files import check_output, mark
from .options import add_force, positive

CLONE = Path(__file__).resolve().parents[2]


def add(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Checks, then times whole models, layers, operators, scaling and start-up, and prints "
        "tables with GFLOP/s and the share of this machine's peak. All rows take about ten minutes."
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="parts of row or section names (default: all)",
    )
    parser.add_argument("--list", action="store_true", help="show the names of the rows")
    parser.add_argument(
        "--peer", metavar="PYTHON", help="also measure torch and torchvision, in this interpreter"
    )
    parser.add_argument("--rounds", type=positive, metavar="N", help="rounds per row (default: 5)")
    parser.add_argument("--seconds", type=float, help="time per round (default: 0.3)")
    parser.add_argument("--threads", type=positive, metavar="N", help="CPU threads (default: all)")
    parser.add_argument("--json", metavar="FILE", help="also write the numbers there")
    add_force(parser)


def run(options: argparse.Namespace) -> int:
    """Raises InputError where the package is installed without the repository around it."""
    if not (CLONE / "tests" / "benchmarks" / "__main__.py").exists():
        raise InputError(
            f"bench: the benchmarks come with a clone of the repository, there are none in {CLONE}"
        )
    if options.json:
        check_output(Path(options.json), set(), mark("bench"), options.force)
    command = [sys.executable, "-m", "tests.benchmarks", *options.names]
    for name in ("peer", "rounds", "seconds", "threads", "json"):
        value = getattr(options, name)
        if value is not None:
            # paths are those of the caller's folder
            value = Path(value).absolute() if name in ("peer", "json") else value
            command += [f"--{name}", str(value)]
    command += ["--list"] if options.list else []
    try:
        return subprocess.run(command, cwd=CLONE).returncode
    except KeyboardInterrupt:
        return 130
