"""Fixtures that every test file shares."""

import pytest

from tinymaskrcnn.backend import use


@pytest.fixture(params=["reference", "cpu"])
def backend(request):
    """Runs the test once on each backend."""
    with use(request.param):
        yield request.param
