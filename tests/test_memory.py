"""Buffers are reused when, and only when, nobody holds them."""

import numpy as np

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


def test_a_view_of_a_view_keeps_its_buffer():
    first = memory.empty(SHAPE)
    view = first.reshape(-1)[4:].reshape(-1, 2)[::2]
    where = address(first)
    del first
    others = [memory.empty(SHAPE) for _ in range(4)]
    assert all(address(other) != where for other in others)
    assert view.base is not None


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
    held = memory._total  # by arrays of other tests
    monkeypatch.setattr(memory, "LIMIT", held + (1 << 20))
    for rows in range(1, 40):
        memory.empty((rows, 16384))
    assert memory._total <= held + (1 << 20) + 40 * 16384 * 4


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
    monkeypatch.setattr(memory, "LIMIT", memory._total)
    held = memory.empty((128, 1024))  # a quarter of the smaller one, which it may not take
    assert memory._total <= memory.LIMIT
    assert address(memory.empty((512, 1024))) == where
    assert held.size


def test_buffers_begin_on_a_page():
    for shape in ((5000,), SHAPE, (3, 70_001)):
        assert address(memory.empty(shape)) % memory.PAGE == 0
