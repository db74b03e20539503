"""What the tests of training share."""

import pytest

from tinymaskrcnn.training import run_figures


@pytest.fixture
def curves():
    """For a test that wants the curve of its runs drawn."""


@pytest.fixture(autouse=True)
def _no_other_curves(request, monkeypatch):
    """A curve takes much longer than a run of the stub model."""
    if "curves" not in request.fixturenames:
        monkeypatch.setattr(run_figures, "draw_curve", lambda run: None)
