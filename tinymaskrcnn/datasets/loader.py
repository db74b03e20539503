"""Batches for training, read and augmented in a background thread while the step runs.

What is in a batch depends on the seed and the step alone, so that a resumed run goes on with
exactly the batches that it would have had. One thread, no processes: pictures stay in this one's
memory, and nothing is left behind when it ends. The thread uses NumPy and Pillow only; kernels
are the caller's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError
from ..models.inputs import Target

Augment = Callable[[np.ndarray, Target, np.random.Generator], tuple[np.ndarray, Target]]


class Batch(NamedTuple):
    """One step's pictures: `indices` says which of the data set they are."""

    step: int
    images: list[np.ndarray]
    targets: list[Target]
    indices: list[int]


class Loader:
    """Endless batches of `dataset` from `start_step` on.

    `for step, images, targets, indices in Loader(...)`:

    - Every picture comes once an epoch, in an order that depends on (seed, epoch). A batch may hold
      the end of one epoch and the start of the next, so all have `batch_size` pictures.
    - `augment(image, target, rng)` gets a generator of its own for every picture.
    - `prefetch`: how many batches may wait, ready or in the making.
    - `part`: which places of each batch are made, of 0 to batch_size - 1; all by default.

    An error in reading or augmenting a picture comes out of the iteration, with a note that names
    the picture. Raises InputError for an empty data set.
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
    ):
        if len(dataset) == 0:
            raise InputError("the data set has no pictures to train on")
        self.dataset, self.batch_size, self.seed = dataset, batch_size, seed
        self.augment, self.start_step, self.prefetch = augment, start_step, max(1, prefetch)
        self.part = range(batch_size) if part is None else part
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))  # the epoch last used

    def __iter__(self) -> Iterator[Batch]:
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
        """Which picture comes at a position of the endless row of epochs."""
        epoch, place = divmod(position, len(self.dataset))
        known, order = self._order
        if known != epoch:
            shuffle = np.random.default_rng([self.seed, 0, epoch])
            order = shuffle.permutation(len(self.dataset))
            self._order = epoch, order
        return int(order[place])

    def read(self, position: int, index: int) -> tuple[np.ndarray, Target]:
        """The augmented picture at a position."""
        try:
            image, target = self.dataset[index]
            if self.augment is None:
                return image, target
            return self.augment(image, target, np.random.default_rng([self.seed, 1, position]))
        except Exception as error:
            error.add_note(f"while reading {self.dataset.describe(index)}")
            raise
