import subprocess
import sys
import threading
import time
from itertools import islice

import numpy as np
import pytest

from tinymaskrcnn.datasets import Augmentation, Loader, ToyShapes
from tinymaskrcnn.errors import InputError


class Numbers:
    """A data set whose images hold their own index; `delay` and `broken` make it misbehave."""

    def __init__(self, count, broken=None, delay=0.0):
        self.count, self.broken, self.delay, self.read = count, broken, delay, 0

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        time.sleep(self.delay)
        if index == self.broken:
            raise InputError(f"image {index} is broken")
        self.read += 1
        return np.full((3, 2, 2), index, np.float32), {"labels": np.array([index])}

    def describe(self, index):
        return f"number {index}"


def equal_batches(ours, theirs):
    return (
        ours.step == theirs.step
        and ours.indices == theirs.indices
        and all(np.array_equal(a, b) for a, b in zip(ours.images, theirs.images, strict=True))
    )


def loader_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("loader")]


# by hand


def test_a_batch_holds_the_images_that_it_names():
    step, images, targets, indices = next(iter(Loader(Numbers(10), 4, seed=0)))
    assert step == 0
    assert [int(image[0, 0, 0]) for image in images] == indices
    assert [int(target["labels"][0]) for target in targets] == indices


# laws


@pytest.mark.parametrize(("count", "batch_size"), [(10, 4), (3, 8), (1, 2), (8, 8)])
def test_every_image_comes_once_an_epoch(count, batch_size):
    batches = islice(Loader(Numbers(count), batch_size, seed=1), 4 * count)
    row = [index for batch in batches for index in batch.indices]
    epochs = [row[start : start + count] for start in range(0, 3 * count, count)]
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs)


def test_epochs_and_seeds_differ_in_order():
    def order(seed, epoch):
        return [Loader(Numbers(50), 1, seed).index(50 * epoch + place) for place in range(50)]

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4


@pytest.mark.parametrize("prefetch", [1, 3])
def test_a_loader_that_starts_later_gives_the_same_batches(prefetch):
    dataset = ToyShapes(13, size=32)
    augment = Augmentation(0.5, scale_jitter=0.3, colour_jitter=0.3)
    whole = list(islice(Loader(dataset, 5, 7, augment), 6))
    rest = list(islice(Loader(dataset, 5, 7, augment, start_step=4, prefetch=prefetch), 2))
    assert all(map(equal_batches, whole[4:], rest))


def test_the_same_image_is_augmented_differently_each_epoch():
    loader = Loader(ToyShapes(1, size=32), 1, 0, Augmentation(0.0, colour_jitter=0.5))
    first, second = islice(loader, 2)
    assert not np.array_equal(first.images[0], second.images[0])


def test_it_works_ahead_but_only_so_far():
    dataset = Numbers(100)
    batches = iter(Loader(dataset, 2, seed=0, prefetch=3))
    next(batches)
    deadline = time.monotonic() + 10
    while dataset.read < 8 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert dataset.read == 8  # the batch in hand and three more


# edges


def test_errors_come_out_with_the_image_that_they_are_about():
    with pytest.raises(InputError, match="image 3 is broken") as caught:
        list(islice(Loader(Numbers(5, broken=3), 2, seed=0), 5))
    assert caught.value.__notes__ == ["while reading number 3"]


def test_an_empty_data_set_is_refused():
    with pytest.raises(InputError, match="no images"):
        Loader(Numbers(0), 2, seed=0)


def test_leaving_the_loop_ends_the_thread():
    batches = iter(Loader(Numbers(50, delay=0.01), 4, seed=0))
    next(batches)
    assert loader_threads()
    batches.close()
    assert not loader_threads()


def test_a_process_that_stops_in_the_middle_ends():
    program = (
        "import time\n"
        "from tinymaskrcnn.datasets import Loader, ToyShapes\n"
        "batches = iter(Loader(ToyShapes(1000), 8, 0))\n"
        "next(batches)\n"
        "raise KeyboardInterrupt\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)
    assert run.returncode != 0
    assert b"KeyboardInterrupt" in run.stderr


def test_repeats_say_how_often_an_image_comes_per_epoch():
    loader = Loader(Numbers(3), 1, seed=3, repeats=[1, 4, 2])
    epochs = [[loader.index(7 * epoch + place) for place in range(7)] for epoch in range(3)]
    assert all(sorted(epoch) == [0, 1, 1, 1, 1, 2, 2] for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_without_threads_as_in_a_browser_the_batches_are_the_same(monkeypatch):
    usual = list(islice(Loader(Numbers(5), 2, seed=1, start_step=3), 4))
    monkeypatch.setattr(sys, "platform", "emscripten")
    monkeypatch.setattr("tinymaskrcnn.datasets.loader.ThreadPoolExecutor", None)
    alone = list(islice(Loader(Numbers(5), 2, seed=1, start_step=3), 4))
    assert all(map(equal_batches, usual, alone))
