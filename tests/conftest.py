"""Fixtures that every test file shares."""

import signal

import pytest
from hypothesis import settings

from tinymaskrcnn.backend import use

settings.register_profile("repeatable", derandomize=True)  # the same examples in every run
settings.load_profile("repeatable")


@pytest.fixture(autouse=True, scope="session")
def _interrupts_reach_us():
    """A shell that starts the tests in the background has them ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(params=["reference", "cpu"])
def backend(request):
    """Runs the test once on each backend."""
    with use(request.param):
        yield request.param
