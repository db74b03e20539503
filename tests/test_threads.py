"""How many threads kernels use: what is chosen from what is seen; kernels for small work."""

import numpy as np
import pytest

from tinymaskrcnn import jit, threads


@pytest.mark.parametrize(
    ("used", "queued", "idle", "expected"),
    [
        (8, 0.0, 0.0, 8),  # all cores are ours
        (8, 2.1, 0.0, 6),  # two busy programs
        (8, 0.2, 0.1, 7),
        (6, 0.05, 2.0, 8),  # they have ended
        (6, 0.05, 0.5, 6),
        (7, 0.0, 5.0, 8),
        (2, 1.0, 0.0, 1),
        (1, 0.9, 0.0, 1),
        (3, 9.0, 0.0, 1),
    ],
)
def test_fitting(used, queued, idle, expected):
    assert threads.fitting(used, 8, queued, idle) == expected


@pytest.fixture
def machine(monkeypatch):
    """A pool of 4 threads, and a machine whose clock and counters the test sets."""
    now = {"clock": 0.0, "times": (0.0, 0.0), "used": 4, "spins": True}
    monkeypatch.setattr(threads, "perf_counter", lambda: now["clock"])
    monkeypatch.setattr(threads, "_times", lambda: now["times"])
    pool = threads.Pool(4, lambda: now["used"], lambda n: now.update(used=n), lambda: now["spins"])
    pool.adapt()
    return pool, now


def later(machine, times):
    pool, now = machine
    now.update(clock=now["clock"] + 2, times=times)
    pool.adapt()
    return now["used"]


def test_fewer_beside_others_and_all_when_they_end(machine):
    assert later(machine, (4.0, 0.0)) == 2  # queued for 2 s per second
    assert later(machine, (4.0, 0.0)) == 2
    assert later(machine, (4.0, 4.0)) == 4  # two cores idle


def test_looks_once_a_second(machine):
    pool, now = machine
    now.update(clock=0.5, times=(9.0, 0.0))
    pool.adapt()
    assert now["used"] == 4


def test_a_number_that_somebody_set_stays(machine):
    pool, now = machine
    now["used"] = 3  # not through the pool
    assert later(machine, (9.0, 0.0)) == 3
    pool.fixed = True
    assert later(machine, (90.0, 0.0)) == 3


def test_stays_where_the_system_does_not_tell_or_waiting_costs_nothing(machine):
    assert later(machine, None) == 4
    assert later(machine, (9.0, 0.0)) == 4  # nothing to compare with
    machine[1]["spins"] = False
    assert later(machine, (99.0, 0.0)) == 4


def test_set_threads_fixes_the_number(monkeypatch):
    monkeypatch.setattr(jit._pool, "fixed", False)
    jit.set_threads(jit.numba.get_num_threads())
    assert jit._pool.fixed


def test_counters_of_this_machine_grow():
    before = threads._times()
    if before is None:
        pytest.skip("this system does not tell")
    sum(range(10**6))
    assert all(b <= a for b, a in zip(before, threads._times(), strict=True))


@pytest.mark.parametrize("text", ["150000 100000\n", "max 100000\n", "", "-5 100000\n"])
def test_a_control_groups_quota_is_kept_to(monkeypatch, text):
    monkeypatch.setattr(threads.Path, "read_text", lambda *_, **__: text)
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: range(6), raising=False)
    expected = {"150000 100000\n": 2, "-5 100000\n": 1}.get(text, 6)
    assert threads.granted() == expected


def _double(x, y):
    for i in jit.numba.prange(len(x)):
        y[i] = 2 * x[i]


def test_small_work_is_done_by_one_thread_with_the_same_result():
    sized = jit.kernel_from(100, lambda x, y: len(x))(_double)
    for count in (0, 99, 100, 1000):
        x, y = np.arange(count, dtype=np.float32), np.empty(count, np.float32)
        sized(x, y)
        np.testing.assert_array_equal(y, 2 * x)
