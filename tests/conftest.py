"""Fixtures that every test file shares."""

import signal

import pytest
from hypothesis import settings

from tests.cuda.modes import mode
from tinymaskrcnn.backend import use

settings.register_profile("repeatable", derandomize=True)  # the same examples in every run
settings.load_profile("repeatable")


@pytest.fixture(autouse=True, scope="session")
def _interrupts_reach_us():
    """A shell that starts the tests in the background has them ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(params=["reference", "cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def backend(request):
    """Runs the test once on each backend."""
    if request.param == "cuda":
        request.getfixturevalue("gpu")
    with use(request.param):
        yield request.param


@pytest.fixture
def gpu():
    """Something that runs CUDA kernels (tests/cuda/modes.py); skips where there is nothing."""
    if mode() is None:
        pytest.skip("numba-cuda and its compiler are not installed")
    from tinymaskrcnn.gpu import pool
    from tinymaskrcnn.gpu.device import use_device

    pool.release()  # fresh memory holds NaN: a cell that nobody writes is seen
    with use_device(_device()) as device:
        yield device
    pool.release()


def _device():
    if mode() == "compiled":
        from tests.cuda.interpreted import InterpretedDevice

        return InterpretedDevice()
    if mode() == "simulator":
        from tests.cuda.simulated import SimulatedDevice

        return SimulatedDevice()
    from tinymaskrcnn.gpu.device import NumbaDevice

    return NumbaDevice()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """File names that are no UTF-8 stand in some logs; pytest-xdist could not send them."""
    report = yield
    report.sections = [
        (title, text.encode("utf-8", "backslashreplace").decode())
        for title, text in report.sections
    ]
    return report
