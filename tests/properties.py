"""Property tests with one body for every backend."""

from functools import update_wrapper

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinymaskrcnn.gpu import pool
from tinymaskrcnn.gpu.device import current


def on_each_backend(*strategies, examples, on_cuda=4):
    """Makes a test of `body(backend, *drawn)`: it must hold for whatever these strategies draw,
    with the backend (a name) in use.

    On cuda, where interpreter and simulator are slow, only `on_cuda` examples are drawn.
    """

    def decorate(body):
        def test(backend):
            unable = []

            @settings(deadline=None, max_examples=on_cuda if backend == "cuda" else examples)
            @given(st.tuples(*strategies))
            def holds(drawn):
                if backend == "cuda":
                    _as_new(current())
                try:
                    body(backend, *drawn)
                except pytest.skip.Exception as reason:  # too large for the simulator
                    unable.append(reason)
                else:
                    unable.append(None)

            holds()
            if all(unable):
                raise unable[0]

        update_wrapper(test, body)
        del test.__wrapped__  # pytest would look for the body's arguments
        return test

    return decorate


def implementation(kernels):
    """The module of an op's kernels that serves host arrays on the backend in use."""
    return kernels(np.zeros(1, np.float32))


def _as_new(device):
    """Fresh memory, where a cell that nobody writes is seen, and the simulator's limit anew."""
    pool.release()
    if hasattr(device, "threads"):
        device.threads = device.flops = 0
