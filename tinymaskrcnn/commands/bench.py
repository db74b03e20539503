"""`tinymaskrcnn bench`: the benchmarks of a clone, in a process of their own."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from ..errors import InputError
from ..files import check_output, mark

CLONE = Path(__file__).resolve().parents[2]


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
