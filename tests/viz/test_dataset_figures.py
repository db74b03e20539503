"""Figures of a whole data set, and of the course of training."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

import tinymaskrcnn as tm
from tinymaskrcnn.datasets.augment import Augmentation
from tinymaskrcnn.viz import colours, dataset_figures, figures

CLASSES = ["square", "circle", "triangle"]


def drawn(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    assert np.asarray(canvas.buffer_rgba()).std() > 1
    return figure


def heights(figure):
    return [patch.get_height() for patch in figure.axes[0].patches]


def test_class_bars_are_as_long_as_the_counts():
    figure = drawn(dataset_figures.class_histogram({"cat": 2, "dog": 5, "cow": 0}))
    assert [patch.get_width() for patch in figure.axes[0].patches] == [5, 2, 0]


def test_every_object_is_in_the_histograms():
    sides = np.random.default_rng(0).uniform(1, 300, 500)
    assert sum(heights(drawn(dataset_figures.box_sizes(sides, [16, 64])))) == 500
    assert sum(heights(drawn(dataset_figures.mask_sizes(sides)))) == 500
    assert heights(drawn(dataset_figures.objects_per_image(np.array([0, 2, 2, 5])))) == [
        1,
        0,
        2,
        0,
        0,
        1,
    ]
    many = dataset_figures.objects_per_image(np.arange(1000))
    assert sum(heights(drawn(many))) == 1000 and len(heights(many)) <= 41


@pytest.mark.parametrize("empty", [np.zeros(0)])
def test_an_empty_set(empty):
    for figure in (
        dataset_figures.class_histogram({"cat": 0}),
        dataset_figures.box_sizes(empty, [16, 64]),
        dataset_figures.mask_sizes(empty),
        dataset_figures.objects_per_image(empty),
        dataset_figures.anchor_coverage(empty),
    ):
        drawn(figure)


def test_coverage_is_the_share_of_boxes_at_each_iou():
    overlaps = np.array([0.1, 0.5, 0.5, 0.9])
    (line,) = [
        line
        for line in drawn(dataset_figures.anchor_coverage(overlaps)).axes[0].lines
        if to_hex(line.get_color()) == colours.ANCHOR
    ]
    shares = dict(zip(np.round(line.get_xdata(), 2), line.get_ydata(), strict=True))
    assert (shares[0], shares[0.1], shares[0.5], shares[0.51], shares[0.9], shares[1]) == (
        1, 1, 0.75, 0.25, 0.25, 0,
    )  # fmt: skip


def test_augmented_images_differ_from_the_first():
    image, target = tm.ToyShapes(1, size=64, min_objects=2)[0]
    figure = drawn(dataset_figures.augmentations(image, target, Augmentation(flip=1.0), CLASSES, 3))
    first, *others = [axis.images[0].get_array() for axis in figure.axes[:3]]
    assert all((first != other).any() for other in others)


@pytest.fixture(scope="module")
def traces():
    image, target = tm.ToyShapes(3, size=64, min_objects=2, max_objects=3)[0]
    out = {}
    for step, seed in ((0, 0), (100, 1)):
        model = tm.maskrcnn_tiny(min_size=64, max_size=64, box_score_thresh=0.2, seed=seed).eval()
        with tm.trace() as t:
            model.evaluate_losses([image], [target], np.random.default_rng(0))
        out[step] = t
    return out


def test_statistics_of_the_sampler(traces):
    rows = figures.sample_statistics(list(traces.values()))
    for row, t in zip(rows, traces.values(), strict=True):
        labels = t["roi.sample.labels"][0]
        assert row["regions"] == len(labels) == sum(row["classes"].values())
        assert row["classes"].get(0, 0) == (labels == 0).sum()
        assert row["share"] == pytest.approx((labels > 0).mean())
        assert row["unique"] <= row["regions"]
    drawn(figures.sampled_shares(list(traces.values()), CLASSES))
    drawn(figures.sampled_shares([]))


def test_the_course_has_a_row_for_each_moment(traces):
    figure = drawn(figures.training_course(traces, CLASSES, count=7))
    assert len(figure.axes) == 8
    for row, t in enumerate(traces.values()):
        moved, proposals = figure.axes[4 * row + 1 : 4 * row + 3]
        truth = len(t["transform.targets"][0]["boxes"])
        assert len(moved.patches) == 14 + truth
        assert len(proposals.patches) == len(t["rpn.proposals"][0]) + truth
