"""Batches for training, read and augmented in a background thread while the step runs.

A batch depends on the seed and the step alone, so a resumed run goes on with exactly the batches it
would have had. It is one thread and no processes: images stay in this process's memory, and nothing
is left behind when it ends. The thread uses NumPy and Pillow only; kernels belong to the caller.
"""

from __future__ import annotations

import itertools
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError
from ..models.inputs import Target

Augment = Callable[[np.ndarray, Target, np.random.Generator], tuple[np.ndarray, Target]]


class Batch(NamedTuple):
    """The images of one step; `indices` are their places in the data set."""

    step: int
    images: list[np.ndarray]
    targets: list[Target]
    indices: list[int]


class Loader:
    """Endless batches of `dataset`, from `start_step` on.

    `for step, images, targets, indices in Loader(...)`: every image comes once per epoch, or as
    often as `repeats` says, in an order that depends on (seed, epoch). A batch may hold the end of
    one epoch and the start of the next, so every batch has `batch_size` images. An error while
    reading or augmenting an image is raised by the iteration, with a note that names the image.

    Args:
        augment: called as `augment(image, target, rng)`, with a generator of its own for every
            image.
        prefetch: how many batches may wait, finished or in progress.
        part: which places of each batch are made, of 0 to batch_size - 1; all by default.
        repeats: how often each image comes per epoch, at least once each; once by default. Random
            crops of a large image should come more often than those of a small one.

    Raises:
        InputError: the data set is empty.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        seed: int,
        augment: Augment | None = None,
        start_step: int = 0,
        prefetch: int = 4,
        part: range | None = None,
        repeats: Sequence[int] | None = None,
    ):
        if len(dataset) == 0:
            raise InputError("the data set has no images to train on")
        self.dataset, self.batch_size, self.seed = dataset, batch_size, seed
        self.augment, self.start_step, self.prefetch = augment, start_step, max(1, prefetch)
        self.part = range(batch_size) if part is None else part
        self._places = np.repeat(np.arange(len(dataset)), 1 if repeats is None else repeats)
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))  # the latest epoch

    def __iter__(self) -> Iterator[Batch]:
        if sys.platform == "emscripten":  # a browser: there are no threads
            yield from map(self.batch, itertools.count(self.start_step))
        executor = ThreadPoolExecutor(1, thread_name_prefix="loader")
        waiting: deque[Future[Batch]] = deque()
        step = self.start_step
        try:
            while True:
                while len(waiting) <= self.prefetch:  # the next one, and those ahead of it
                    waiting.append(executor.submit(self.batch, step))
                    step += 1
                yield waiting.popleft().result()
        finally:
            executor.shutdown(cancel_futures=True)

    def batch(self, step: int) -> Batch:
        """The batch of one step."""
        positions = [step * self.batch_size + place for place in self.part]
        indices = [self.index(position) for position in positions]
        pairs = [self.read(*place) for place in zip(positions, indices, strict=True)]
        return Batch(step, [image for image, _ in pairs], [target for _, target in pairs], indices)

    def index(self, position: int) -> int:
        """The index of the image at a position in the endless sequence of epochs."""
        epoch, place = divmod(position, len(self._places))
        known, order = self._order
        if known != epoch:
            shuffle = np.random.default_rng([self.seed, 0, epoch])
            order = self._places[shuffle.permutation(len(self._places))]
            self._order = epoch, order
        return int(order[place])

    def read(self, position: int, index: int) -> tuple[np.ndarray, Target]:
        """The augmented image at a position."""
        try:
            image, target = self.dataset[index]
            if self.augment is None:
                return image, target
            return self.augment(image, target, np.random.default_rng([self.seed, 1, position]))
        except Exception as error:
            error.add_note(f"while reading {self.dataset.describe(index)}")
            raise
