"""lessons/figures/gpu.py."""

import numpy as np
import pytest
from PIL import ImageColor

from lessons.figures import gpu as gpu_figures
from tinymaskrcnn.viz.colours import DETECTION, DROPPED, GROUND_TRUTH

WRITES = [(t, "writes", ("s", t)) for t in range(4)]
READS = [(t, "reads", ("s", (t + 1) % 4)) for t in range(4)]


def share(picture, colour):
    """Of the picture's pixels those that have this colour."""
    return (np.asarray(picture) == ImageColor.getrgb(colour)).all(axis=2).mean()


def test_only_without_a_barrier_is_there_a_race():
    waited = gpu_figures.touches({"": [WRITES, READS]})
    raced = gpu_figures.touches({"": [WRITES + READS]})
    assert share(raced, DETECTION) > 3 * share(waited, DETECTION)  # the legend has one square


def test_a_column_fetches_what_nobody_wants():
    row, column = np.arange(32), np.arange(32) * 32
    pictures = [gpu_figures.fetched({"": places}, (32, 32)) for places in (row, column)]
    extra = [share(picture, "#f3cf8e") for picture in pictures]
    assert extra[0] == 0 and extra[1] > 0.1


@pytest.mark.parametrize("shape, outside", [((8, 8), False), ((7, 10), True)])
def test_threads_without_a_cell_are_white(shape, outside):
    picture = gpu_figures.thread_grid(shape, (4, 4), block=(1, 0), thread=(3, 1))
    corner = np.asarray(picture)[-60:-20, -60:-20]
    assert bool((corner == 255).all(axis=2).mean() > 0.8) == outside


def test_bars_that_end_before_the_launch_are_grey():
    slow, quick = (gpu_figures.waits({"a": s, "b": s}, 1e-4) for s in (1e-3, 1e-5))
    assert share(slow, GROUND_TRUTH) > 0.01 > share(quick, GROUND_TRUTH)
    assert share(quick, DROPPED) > 0.01


def test_more_tiles_and_larger_maps():
    walk = [gpu_figures.tile_walk(tiles=n, row=1, column=0, step=1) for n in (2, 5)]
    assert walk[0].size == walk[1].size
    patches = [gpu_figures.patch_matrix((n, 4), 3, tile=(0, 3, 0, 2)) for n in (3, 4)]
    assert patches[0].size[1] < patches[1].size[1]
