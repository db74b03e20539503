"""Buffers are reused when, and only when, nobody holds them."""

import sys
import threading

import numpy as np
import pytest

from tinymaskrcnn import memory

SHAPE = (64, 64, 8)


def address(array):
    return array.__array_interface__["data"][0]


def test_a_dropped_buffer_comes_back():
    memory.release()
    first = memory.empty(SHAPE)
    where = address(first)
    del first
    assert address(memory.empty(SHAPE)) == where


def test_nearly_equal_shapes_share():
    memory.release()
    first = memory.empty((1000, 100))
    where = address(first)
    del first
    assert address(memory.empty((1010, 100))) == where


class Labelled(np.ndarray):
    """An array of another type, such as users make."""


HOLDERS = {
    "the array": lambda a: a,
    "a view of a view": lambda a: a.reshape(-1)[4:].reshape(-1, 2)[::2],
    "one element": lambda a: a[3, 4, 5:6],
    "another dtype": lambda a: a.view(np.uint8),
    "turned": lambda a: a.T[::-1],
    "broadcast": lambda a: np.broadcast_to(a[:1], SHAPE),
    "another type": lambda a: a.view(Labelled)[1:],
    "its memory": lambda a: memoryview(a)[1:],
    "an array on its memory": lambda a: np.asarray(memoryview(a))[1:],
    "its base": lambda a: a.base,
}


@pytest.mark.parametrize("hold", HOLDERS.values(), ids=HOLDERS.keys())
def test_whatever_looks_at_a_buffer_keeps_it(hold):
    memory.release()
    first = memory.empty(SHAPE)
    where = address(first)
    holder = hold(first)
    del first
    others = [memory.empty(SHAPE) for _ in range(4)]
    assert all(address(other) != where for other in others)
    del others, holder
    again = [memory.empty(SHAPE) for _ in range(5)]
    assert where in {address(array) for array in again}


@pytest.mark.parametrize("count", [0, 2, 3, 4])
def test_how_an_interpreter_counts_references_does_not_matter(monkeypatch, count):
    monkeypatch.setattr(sys, "getrefcount", lambda _: count)
    arrays = [memory.empty(SHAPE) for _ in range(8)]
    assert len({address(array) for array in arrays}) == 8


def test_threads_never_share_a_buffer():
    wrong = []

    def work(mark):
        for turn in range(300):
            arrays = [memory.empty((4096 + 512 * (turn % 3),)) for _ in range(3)]
            for i, array in enumerate(arrays):
                array.fill(8 * mark + i)
            wrong.extend(i for i, a in enumerate(arrays) if (a != 8 * mark + i).any())

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(mark,)) for mark in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert not wrong


def test_two_at_once_are_two_arrays():
    a, b = memory.zeros(SHAPE), memory.empty(SHAPE)
    b.fill(1)
    assert not a.any()
    assert not np.shares_memory(a, b)


def test_dtype_shape_and_order():
    for dtype in (np.float32, np.float64, np.int64, np.uint8, bool):
        array = memory.zeros((5, 0, 3) if dtype is bool else (70, 300), dtype)
        assert array.dtype == dtype
        assert array.flags.c_contiguous


def test_the_pool_lets_go_of_what_is_idle(monkeypatch):
    memory.release()
    held = memory.held()  # by arrays of other tests
    monkeypatch.setattr(memory, "LIMIT", held + (1 << 20))
    for rows in range(1, 40):
        memory.empty((rows, 16384))
    assert memory.held() <= held + (1 << 20) + 40 * 16384 * 4


def test_a_smaller_shape_takes_what_is_at_most_twice_as_large():
    memory.release()
    first = memory.empty((1024, 1024))
    where = address(first)
    del first
    second = memory.empty((700, 1024))
    assert address(second) == where
    del second
    assert address(memory.empty((300, 1024))) != where


def test_at_the_limit_only_as_much_goes_as_must(monkeypatch):
    memory.release()
    first, second = memory.empty((2048, 1024)), memory.empty((512, 1024))
    where = address(second)
    del first, second
    monkeypatch.setattr(memory, "LIMIT", memory.held())
    held = memory.empty((128, 1024))  # a quarter of the smaller one, which it may not take
    assert memory.held() <= memory.LIMIT
    assert address(memory.empty((512, 1024))) == where
    assert held.size


def test_buffers_begin_on_a_page():
    for shape in ((5000,), SHAPE, (3, 70_001)):
        assert address(memory.empty(shape)) % memory.PAGE == 0
