"""Data-parallel training over MPI: `mpiexec -n 4 tinymaskrcnn train ...`.

Every rank holds the whole model, takes its share of each global batch, and sums gradients with the
others while backward is still running (Li et al. 2020, PyTorch Distributed). A rank's losses are
its parts of means over the whole batch. So the sum is the gradient that one process would have, and
every rank takes the same step.

Not here: what the model asks of all ranks (parallel.py), and who writes what (trainer.py).
"""

from __future__ import annotations

import hashlib
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from time import perf_counter, sleep
from typing import Any

import numpy as np

from ..errors import InputError, NonFiniteError, outcome
from ..launcher import launched_rank
from ..nn import Parameter
from ..parallel import Group
from .interrupts import TrainingStopped

BUCKET = 1 << 20  # bytes of gradients sent together
_ON_ALL = (NonFiniteError, TrainingStopped)  # training raises these on every rank at once


def world(shares_norms: bool = False) -> Group:
    """All ranks of this program: an MPIGroup under an MPI launcher, otherwise this process alone.

    Raises:
        InputError: there is a launcher, but mpi4py is missing.
    """
    group = _world()
    group.shares_norms = shares_norms and group.size > 1
    return group


@cache
def _world() -> Group:
    if launched_rank() is None:
        return Group()
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as problem:  # RuntimeError: no MPI library
        raise InputError(
            f"started by an MPI launcher, but mpi4py cannot be used ({problem}); "
            "pip install 'tinymaskrcnn[mpi]', or start without mpiexec"
        ) from problem
    return MPIGroup(MPI.COMM_WORLD) if MPI.COMM_WORLD.size > 1 else Group()


class MPIGroup(Group):
    """The ranks of an mpi4py communicator."""

    def __init__(self, comm: Any) -> None:
        from mpi4py import MPI

        self.comm, self.mpi = comm, MPI
        self.rank, self.size = comm.rank, comm.size
        self.local = comm.Split_type(MPI.COMM_TYPE_SHARED)  # those on this machine

    def total(self, values: np.ndarray) -> np.ndarray:
        return self._reduced(values, self.mpi.SUM)

    def largest(self, values: np.ndarray) -> np.ndarray:
        return self._reduced(values, self.mpi.MAX)

    def agreed(self, value: Any) -> Any:
        with self.waiting():
            return self.comm.bcast(value)

    def gathered(self, value: Any) -> list[Any]:
        with self.waiting():
            return self.comm.allgather(value)

    def copy_first(self, arrays: Iterable[np.ndarray]) -> None:
        with self.waiting():
            for array in arrays:
                self.comm.Bcast(array)

    @contextmanager
    def together(self) -> Iterator[None]:
        problem = None
        try:
            yield
        except Exception as raised:
            problem = raised
        for rank, other in enumerate(self.gathered(problem and _portable(problem))):
            if other is not None:
                raise _mark(problem or other(f"rank {rank}: "))

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time in this context as waiting."""
        start = perf_counter()
        yield
        self.seconds += perf_counter() - start

    def first_here(self, work: Callable[[], object]) -> None:
        """Let one rank on each machine do this while the others sleep."""
        if self.local.rank == 0:
            work()
        done = self.local.Ibarrier()
        while not done.Test():
            sleep(0.02)

    def end_all(self, status: int, text: str) -> None:
        """End every rank's process now, with these last words on standard error."""
        sys.stdout.flush()
        sys.stderr.write(text)
        sys.stderr.flush()
        _wait_until_read(sys.stderr.fileno())
        self.comm.Abort(status)

    def _reduced(self, values: np.ndarray, operation: Any) -> np.ndarray:
        values = np.ascontiguousarray(values)
        result = np.empty_like(values)
        with self.waiting():
            self.comm.Allreduce(values, result, operation)
        return result


@contextmanager
def end_together(group: Group) -> Iterator[None]:
    """End all ranks' processes if an error in this context is only this rank's, since the others
    wait for it; the exit status is the one that the command line has for the error.
    """
    try:
        yield
    except BaseException as problem:
        if not isinstance(group, MPIGroup) or on_all_ranks(problem):
            raise
        told = outcome(problem)
        above = "" if told else traceback.format_exc()
        status, text = told or (1, "ended by the error above")
        group.end_all(status, f"{above}tinymaskrcnn: rank {group.rank}: {text}\n")


def _wait_until_read(pipe: int, patience: float = 10.0) -> None:
    """Wait until a launcher has read all that this process wrote to it: on an abort, launchers
    close their pipes unread.
    """
    end = perf_counter() + patience
    try:
        while _unread(pipe) and perf_counter() < end:
            sleep(0.01)
    except (ImportError, OSError):  # Windows; no pipe, or one that cannot be asked
        pass
    sleep(0.2)  # it still has to pass on what it has read


def _unread(pipe: int) -> int:
    """The number of bytes waiting in a pipe."""
    import fcntl
    import termios

    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def check_group(group: Group, model: Any, batch_size: int) -> None:
    """Raise InputError if these processes cannot train this model together."""
    if group.size > 1 and getattr(model, "device", "cpu") != "cpu":
        raise InputError("device cuda: several processes can train on the cpu only")
    if batch_size < group.size:
        raise InputError(
            f"batch_size {batch_size} is the number of images per step, over all ranks: "
            f"expected at least {group.size}, one per rank"
        )


def require_same_weights(parameters: Iterable[Parameter], group: Group) -> None:
    """Raise InputError unless all ranks have the same weights, bit for bit."""
    if group.size == 1:
        return
    digest = hashlib.sha256()
    for parameter in parameters:
        digest.update(parameter.data.tobytes())
    digests = group.gathered(digest.digest())
    others = [rank for rank, other in enumerate(digests) if other != digests[0]]
    if others:
        raise _mark(
            InputError(
                f"rank {others[0]} has other weights than rank 0, after the same steps: their "
                "processors round differently; use machines of one kind"
            )
        )


def on_all_ranks(problem: BaseException) -> bool:
    """Whether every rank raises this error too, so that one of them may speak for all."""
    return isinstance(problem, _ON_ALL) or getattr(problem, "on_all_ranks", False)


def _mark(problem: Exception) -> Exception:
    problem.on_all_ranks = True  # type: ignore[attr-defined]
    return problem


class _portable:
    """An error's kind and text, for other ranks; only the text if they may not know the kind."""

    def __init__(self, problem: Exception) -> None:
        known = isinstance(problem, InputError | NonFiniteError)
        self.kind = type(problem) if known else RuntimeError
        self.text = str(problem)

    def __call__(self, prefix: str) -> Exception:
        return self.kind(prefix + self.text)


class OwnGradients:
    """Does the work of GradientSums for a single process."""

    def backward(self, loss: Any) -> None:
        loss.backward()


def gradient_sums(parameters: Sequence[Parameter], group: Group) -> OwnGradients | GradientSums:
    """The object that runs backward for this group."""
    return GradientSums(parameters, group) if isinstance(group, MPIGroup) else OwnGradients()


class GradientSums:
    """Sums gradients over all ranks, in flat float32 buffers that are sent while backward goes on.

    Backward reaches the last parameters first, so buckets are filled from the end. A bucket is sent
    as soon as all its gradients are complete and the buckets before it have been sent: ranks must
    send in one order. A bucket ends with one number per gradient: 1, or 0 if a rank has no such
    gradient. A gradient that no rank has stays None.

    Args:
        parameters: all that are trained.
        group: the ranks.
        overlap: False sends everything after backward, to measure what sending early gains.
    """

    def __init__(
        self, parameters: Sequence[Parameter], group: MPIGroup, overlap: bool = True
    ) -> None:
        self.group, self.overlap = group, overlap
        self.comm = group.comm.Dup()  # keeps apart the norms' sums, which ranks ask for meanwhile
        self.buckets = [_Bucket(some) for some in _split(parameters[::-1])]
        self._bucket_of = {id(p): bucket for bucket in self.buckets for p in bucket.parameters}
        self._requests: list[Any] = []

    def backward(self, loss: Any) -> None:
        """Leave the sum of all ranks' gradients in every parameter's `grad`."""
        loss.backward(on_leaf=self._arrived)
        self._finish()

    def _arrived(self, parameter: Any) -> None:
        """Called by backward when this parameter's gradient is complete."""
        bucket = self._bucket_of.get(id(parameter))
        if bucket is None:
            return
        bucket.take(parameter)
        if self.overlap:
            self._send_complete()
            self.group.mpi.Request.Testall(self._requests)  # lets MPI make progress

    def _finish(self) -> None:
        for bucket in self.buckets[len(self._requests) :]:
            self._send(bucket)
        with self.group.waiting():
            self.group.mpi.Request.Waitall(self._requests)
        self._requests = []
        for bucket in self.buckets:
            bucket.hand_out()

    def _send_complete(self) -> None:
        for bucket in self.buckets[len(self._requests) :]:
            if bucket.missing:
                return
            self._send(bucket)

    def _send(self, bucket: _Bucket) -> None:
        bucket.clear_missing()
        in_place, plus = self.group.mpi.IN_PLACE, self.group.mpi.SUM
        self._requests.append(self.comm.Iallreduce(in_place, bucket.buffer, plus))


class _Bucket:
    """Some parameters, and a buffer for their gradients.

    Attributes:
        missing: how many gradients have not arrived yet in this step.
    """

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        self.parameters = parameters
        ends = np.cumsum([p.size for p in parameters])
        self.buffer = np.zeros(int(ends[-1]) + len(parameters), np.float32)
        *self._gradients, self._present = np.split(self.buffer, ends)
        self._place = {id(p): i for i, p in enumerate(parameters)}
        self.missing = len(parameters)

    def take(self, parameter: Parameter) -> None:
        """Copy a gradient into the buffer."""
        place = self._place[id(parameter)]
        if parameter.grad is not None:
            self._gradients[place][...] = parameter.grad.reshape(-1)
            self._present[place] = 1
        self.missing -= 1

    def clear_missing(self) -> None:
        """Write zeros for the gradients that have not arrived."""
        for place in np.flatnonzero(self._present == 0):
            self._gradients[place].fill(0)

    def hand_out(self) -> None:
        """Give every parameter its sum, a view of the buffer; get ready for the next step."""
        for place, parameter in enumerate(self.parameters):
            total = self._gradients[place].reshape(parameter.shape)
            parameter.grad = total if self._present[place] else None
        self._present.fill(0)
        self.missing = len(self.parameters)


def _split(parameters: Sequence[Parameter]) -> Iterator[list[Parameter]]:
    """Neighbouring parameters, as many as fill a bucket with their gradients."""
    bucket: list[Parameter] = []
    for parameter in parameters:
        bucket.append(parameter)
        if 4 * sum(p.size for p in bucket) >= BUCKET:
            yield bucket
            bucket = []
    if bucket:
        yield bucket
