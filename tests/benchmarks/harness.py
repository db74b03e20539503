"""Run a case's programs in separate processes, in turn: first they must agree, then their times
count.

A round times our side and then each peer. A ratio is the median of the rounds' ratios, so that a
slow minute of the machine slows both its sides. Between requests a process is stopped with all its
threads: none spins while another is timed.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .case import Bound, Case, Mismatch

ROOT = Path(__file__).resolve().parents[2]
STAT = Path("/proc/stat")
CALM = 0.1  # processors that other programs may use while we time
Row = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        peer: the interpreter for the peers' processes; None: run without peers.
        rounds: how often the sides take turns.
        seconds: of timed calls per round and side.
        threads: of every side.
        patience: seconds that each timing may wait for other programs to leave the machine alone.
    """

    peer: str | None
    rounds: int
    seconds: float
    threads: int
    patience: float


class Missing(Exception):
    """A side's program is not installed."""


class Side:
    """A worker process, which is stopped except while it answers."""

    def __init__(self, side: str, python: str, threads: int) -> None:
        command = [python, "-m", "tests.benchmarks.worker", side, str(threads)]
        limits = {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        environment = os.environ | limits
        self.name, self._errors = side, tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
        )  # fmt: skip
        self._reply()

    def ask(self, do: str, **arguments: Any) -> Any:
        """Call the worker's method `do` and return its result.

        Raises:
            Missing, Mismatch: the worker raised it.
            SystemExit: the worker died; the message holds its last output.
        """
        assert self._process.stdin
        self._send("SIGCONT")
        try:
            print(json.dumps({"do": do, **arguments}), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            self._mourn()
        return self._reply()

    def _reply(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            self._mourn()
        self._send("SIGSTOP")
        reply = json.loads(line)
        if "missing" in reply:
            raise Missing(reply["missing"])
        if "mismatch" in reply:
            raise Mismatch(reply["mismatch"])
        return reply["ok"]

    def _send(self, name: str) -> None:
        if hasattr(signal, name):  # Windows cannot stop a process
            self._process.send_signal(getattr(signal, name))

    def _mourn(self) -> None:
        self._errors.seek(0)
        raise SystemExit(f"the process of {self.name} died:\n{self._errors.read()[-3000:]}")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream:
                stream.close()


class Sides:
    """The workers in use, by side and number of threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._open: dict[tuple[str, int], Side] = {}

    def get(self, side: str, threads: int) -> Side:
        """The worker of a side, started if necessary.

        Raises:
            Missing: the program is not installed in the peers' interpreter, or there is none.
        """
        key = side, threads
        if key not in self._open:
            python = sys.executable if side == "ours" else self._settings.peer
            if python is None:
                raise Missing("peers: give --peer PYTHON")
            self._open[key] = Side(side, python, threads)
        return self._open[key]

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1].close()


def measure(name: str, case: Case, settings: Settings, sides: Sides) -> Iterator[Row]:
    """The case's rows: one per peer, or one for our side alone.

    Raises:
        Mismatch: two sides disagree, or ours disagrees with the reference.
    """
    threads = case.threads or settings.threads
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        if case.alone:
            sides.close()
            stack.callback(sides.close)
        about = sides.get("ours", threads).ask("prepare", case=name, file=f"{folder}/ours.npz")
        present, missing = _prepare_peers(name, case, folder, threads, sides, settings)
        rounds = [
            {side: undisturbed(sides.get(side, threads), settings) for side in ("ours", *present)}
            for _ in range(settings.rounds)
        ]
        memory = {
            side: sides.get(side, threads).ask("memory")["mb"] for side in ("ours", *present[:1])
        }
    yield from _rows(name, case, about, rounds, present, missing, threads)
    if case.alone:
        yield from _memory_rows(name, case, memory)


def undisturbed(side: Side, settings: Settings) -> Row:
    """A timing while other programs are quiet; if patience runs out, the least disturbed one."""
    best, end = None, time.monotonic() + settings.patience
    while best is None or (best["others"] > CALM and time.monotonic() < end):
        while others_use() > CALM and time.monotonic() < end:
            pass
        before, start = busy_seconds(), time.monotonic()
        reply = side.ask("time", seconds=settings.seconds)
        others = busy_seconds() - before - reply["cpu"]
        reply["others"] = max(others, 0) / (time.monotonic() - start)
        if best is None or reply["others"] < best["others"]:
            best = reply
    return best


def others_use(seconds: float = 0.25) -> float:
    """How many processors other programs use; ours are stopped."""
    before = busy_seconds()
    time.sleep(seconds)
    return (busy_seconds() - before) / seconds


def busy_seconds() -> float:
    """Processor time that all programs have used since the system's start, including the
    hypervisor's part; 0 if the system does not say."""
    if not STAT.exists():
        return 0.0
    user, nice, system, _, _, interrupts, soft, steal = STAT.read_text().split()[1:9]
    used = (user, nice, system, interrupts, soft, steal)
    return sum(map(int, used)) / os.sysconf("SC_CLK_TCK")


def _prepare_peers(
    name: str, case: Case, folder: str, threads: int, sides: Sides, settings: Settings
) -> tuple[list[str], dict[str, str]]:
    """The peers that are installed and agree with us, and what the others lack."""
    present, missing = [], {}
    for side in case.peers if settings.peer else ():
        file = f"{folder}/{side}.npz"
        try:
            sides.get(side, threads).ask("prepare", case=name, file=file)
        except Missing as problem:
            missing[side] = f"skipped: {settings.peer} has no {problem}"
            continue
        with np.load(f"{folder}/ours.npz") as ours, np.load(file) as theirs:
            difference = case.differs(*(list(side.values()) for side in (ours, theirs)))
        if not difference <= case.tolerance:
            raise Mismatch(f"{name}: ours and {side} differ by {difference:.2g}")
        present.append(side)
    return present, missing


def _rows(
    name: str, case: Case, about: Row, rounds: list[Row], present: list[str],
    missing: dict[str, str], threads: int,
) -> Iterator[Row]:  # fmt: skip
    seconds = statistics.median(r["ours"]["seconds"] for r in rounds)
    peak = statistics.median(r["ours"]["peak"] for r in rounds)
    row = {"name": name, "threads": threads, "ours_ms": 1e3 * seconds, "peak_gflops": peak / 1e9}
    row["others"] = statistics.median(max(side["others"] for side in r.values()) for r in rounds)
    if about["flops"]:
        row["gflops"] = about["flops"] / seconds / 1e9
        row["share_of_peak"] = about["flops"] / seconds / peak
    if about["bytes"]:
        row["gbytes"] = about["bytes"] / seconds / 1e9
    if not present:
        yield row
    medians = {}
    for side in present:
        ratios = [r[side]["seconds"] / r["ours"]["seconds"] for r in rounds]
        theirs = medians[side] = statistics.median(r[side]["seconds"] for r in rounds)
        yield row | _ratio(side, theirs, ratios, case.bounds.get(side))
    if "fastest" in case.bounds and medians:
        side = min(medians, key=medians.__getitem__)
        ratios = [r[side]["seconds"] / r["ours"]["seconds"] for r in rounds]
        bound = case.bounds["fastest"]
        yield row | _ratio(f"{side} (fastest)", medians[side], ratios, bound)
    for side, why in missing.items():
        yield {"name": name, "peer": side, "skipped": why}
    if case.of_limit:
        share = seconds / (about["flops"] / peak)
        label = f"{name}, time / (direct FLOPs / peak)"
        yield row | {"name": label, "figure": share} | judged(share, case.of_limit, smaller=True)


def _ratio(side: str, seconds: float, ratios: list[float], bound: Bound | None) -> Row:
    ratio = statistics.median(ratios)
    row = {"peer": side, "theirs_ms": 1e3 * seconds, "ratio": ratio}
    row |= {"low": min(ratios), "high": max(ratios)}
    return row | judged(ratio, bound)


def _memory_rows(name: str, case: Case, memory: dict[str, float]) -> Iterator[Row]:
    row: Row = {"name": f"{name}, peak memory", "ours_mb": memory["ours"]}
    for side, size in memory.items():
        if side != "ours":
            ratio = memory["ours"] / size
            row |= {"peer": side, "theirs_mb": size, "figure": ratio}
            row |= judged(ratio, case.memory, smaller=True)
    yield row


def judged(figure: float, bound: Bound | None, smaller: bool = False) -> Row:
    """The bound, and whether the figure meets it; nothing if there is no bound."""
    if bound is None:
        return {}
    met = figure <= bound.must if smaller else figure >= bound.must
    aim = figure <= bound.aim if smaller else figure >= bound.aim
    return {"must": bound.must, "aim": bound.aim, "met": bool(met), "aim_met": bool(aim)}
