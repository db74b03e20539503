"""Every figure of every stage is drawn from a real trace, and holds as many boxes as it should."""

import inspect
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import tinymaskrcnn as tm
from tinymaskrcnn.viz import colours, dataset_figures, figures, weight_figures
from tinymaskrcnn.viz.derived import Outcome
from tinymaskrcnn.viz.figures.canvas import histogram

CLASSES = ["square", "circle", "triangle"]
NO_FIGURES = {"errors_of", "filter_counts", "filter_rows", "recalls"}
NOT_OF_ONE_TRACE = {  # test_dataset_figures.py
    "sample_statistics",
    "sampled_shares",
    "training_course",
}
FIGURES = sorted(set(figures.__all__) - NO_FIGURES - NOT_OF_ONE_TRACE)
EMPTY = {
    "boxes": np.zeros((0, 4), np.float32),
    "labels": np.zeros(0, np.int64),
    "masks": np.zeros((0, 64, 64), np.uint8),
}


def model_of(**settings):
    return tm.maskrcnn_tiny(min_size=64, max_size=64, **settings)


def trace_of(model, image, target):
    with tm.trace(gradients=True) as slopes:
        sum(model.losses([image], [target], np.random.default_rng(0)).values()).backward()
    with tm.trace() as t:
        model.evaluate_losses([image], [target], np.random.default_rng(0))
    return t, slopes


@pytest.fixture(scope="module")
def busy():
    """An image with objects, and a model that finds many things."""
    image, target = tm.ToyShapes(3, size=64, min_objects=2, max_objects=3)[0]
    model = model_of(box_score_thresh=0.2).eval()
    return model, *trace_of(model, image, target)


@pytest.fixture(scope="module")
def quiet():
    """An image without objects, and a model that finds nothing."""
    image, _ = tm.ToyShapes(3, size=64)[0]
    model = model_of(box_score_thresh=0.99).eval()
    return model, *trace_of(model, image, EMPTY)


def draw(name, t, slopes):
    function = getattr(figures, name)
    wanted = {"classes": CLASSES} if "classes" in inspect.signature(function).parameters else {}
    return function(slopes if name == "gradient_maps" else t, **wanted)


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("kind", ["busy", "quiet"])
def test_drawn_with_and_without_objects(name, kind, request):
    if kind == "quiet" and name in ("sampling_points", "pooled_crops", "class_masks"):
        name_of_pool = "detect.mask_logits" if name == "class_masks" else "detect.box_pool.rois"
        if len(request.getfixturevalue(kind)[1][name_of_pool]) == 0:
            return  # there is no region to ask for
    figure = draw(name, *request.getfixturevalue(kind)[1:])
    assert isinstance(figure, Figure)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())
    assert pixels.std() > 1, "an empty figure"


def public_functions(module):
    return {
        name
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and name[0] != "_"
    }


def test_the_table_of_views_names_every_figure_and_every_step_of_the_page():
    folder = Path(figures.__file__).parents[1]
    table = (folder / "README.md").read_text()
    there = set(figures.__all__)
    there |= public_functions(dataset_figures) | public_functions(weight_figures)
    assert set(re.findall(r"`([a-z_]+)`", table)) - {"train"} == there
    scripts = "".join(
        (folder / f"report/page/{s}.js").read_text() for s in ("inference", "learning")
    )
    titles = re.findall(r'group: "[^"]+", title: "([^"]+)"', scripts)
    titles += re.findall(r'mapStep\("[a-z]+", "([^"]+)"', scripts)
    assert len(titles) == 20
    assert [title for title in titles if title not in table] == []


def boxes_in(figure, colour):
    """The number of rectangles with this edge colour."""
    from matplotlib.colors import to_hex

    patches = [patch for axis in figure.axes for patch in axis.patches]
    return sum(
        isinstance(p, Rectangle) and not p.get_fill() and to_hex(p.get_edgecolor()) == colour
        for p in patches
    )


def test_counts_of_boxes(busy):
    _, t, _ = busy
    kept = int((t["detect.candidates.outcomes"][0] == Outcome.KEPT).sum())
    candidates = figures.candidate_outcomes(t)
    assert boxes_in(candidates, colours.DETECTION) == kept == len(t["detections.boxes"][0])
    assert boxes_in(candidates, colours.DROPPED) == len(t["detect.candidates.rows"][0]) - kept
    assert boxes_in(figures.top_anchors(t, 20), colours.ANCHOR) == 20
    assert boxes_in(figures.refined_proposals(t, 3), colours.DETECTION) == 3
    assert boxes_in(figures.ground_truth(t), colours.GROUND_TRUTH) == len(
        t["transform.targets"][0]["boxes"]
    )


def test_filter_counts_add_up(busy):
    _, t, _ = busy
    counts = figures.filter_counts(t)
    total = counts.pop("pairs of a proposal and a class")
    assert counts.pop("proposals") * len(CLASSES) == total
    assert sum(counts.values()) == total


def test_rows_that_go_on_are_those_of_the_filters(busy):
    _, t, _ = busy
    counts, lists = figures.filter_counts(t), figures.filter_rows(t, CLASSES)
    after = [row for _, kept in lists.values() for row in kept]
    assert len(after) == counts["detections"]
    before = sum(len(rows) for rows, _ in lists.values())
    dropped = ("overlaps a better one of its class", "not among the best", "detections")
    assert before == sum(counts[name] for name in dropped)
    for rows, kept in lists.values():
        assert set(kept) <= set(rows)


def test_what_a_grid_of_half_the_size_keeps_of_a_mask():
    """By hand: bins of two pixels with two samples each, half a pixel to the right and below, as
    torchvision's unaligned RoIAlign reads its targets. At the far edges the last sample is half
    outside.
    """
    from tinymaskrcnn.viz.figures.training import mask_round_trip

    masks = np.zeros((2, 80, 80), np.uint8)
    masks[0, 10:66, 10:66] = 1
    masks[1, 10:66:2, 10:66] = 1  # stripes of one pixel
    boxes = np.float32([[10, 10, 66, 66]] * 2)
    small, ious = mask_round_trip(masks, boxes, 28)
    assert (small[0, :-1, :-1] == 1).all() and (small[0, -1, :-1] == 0.75).all()
    assert small[0, -1, -1] == 0.75**2
    assert (small[1, :-1, :-1] == 0.5).all()
    assert 1 > ious[0] > 0.96 and ious[1] < 0.6  # pasting to whole pixels costs two lines


def test_wrong_and_missed_have_their_colours(busy):
    _, t, _ = busy
    errors = figures.errors_of(t, score=0.2)
    figure = figures.mistakes(t, CLASSES, score=0.2)
    assert errors.wrong
    for kind in colours.ERRORS:
        wanted = sum(wrong.kind == kind for wrong in errors.wrong)
        assert boxes_in(figure, colours.ERRORS[kind]) == wanted
    assert boxes_in(figure, colours.MISSED) == len(errors.missed)


def test_recalls_by_hand():
    truth = np.array([[0, 0, 10, 10], [50, 50, 60, 60]], np.float32)
    t = {
        "transform.targets": [{"boxes": truth}],
        "rpn.anchors": truth,
        "rpn.clipped": [truth + np.float32(4)],
        "rpn.proposals": [truth[:1]],
    }
    assert figures.recalls(t) == {"anchors": 1.0, "moved": 0.0, "proposals": 0.5}


def test_weight_statistics_flag_what_is_odd():
    state = {
        "good": np.array([1.0, -2.0]),
        "zero": np.zeros(3),
        "equal": np.ones(3),
        "bad": np.array([np.nan]),
        "large": np.array([1e3, 0]),
    }
    odd = {row["name"]: row["odd"] for row in weight_figures.weight_statistics(state)}
    assert odd == {
        "good": "",
        "zero": "all zero",
        "equal": "all equal",
        "bad": "not finite",
        "large": "large",
    }
    row = weight_figures.weight_statistics(state)[0]
    assert (row["least"], row["largest"], row["mean"], row["std"]) == (-2, 1, -0.5, 1.5)


RANGES = {
    "constant": np.full(7, 0.1),
    "constant and large": np.full(7, -1e30),
    "one rounding": np.nextafter(np.float32(1), [np.float32(1), np.float32(2)], dtype=np.float32),
    "a few roundings": np.float32(0.1) + np.arange(6, dtype=np.float32) * np.float32(7.5e-9),
    "one rounding of a double": np.array([3.0, np.nextafter(3.0, 4.0)]),
    "all of float32": np.array([-3.4028235e38, 3.4028235e38, 0], np.float32),
    "all of float64": np.array([-1.7e308, 1.7e308, 0]),
    "subnormal": np.arange(5, dtype=np.float32) * np.float32(1e-45),
    "least double": np.array([0, 5e-324]),
    "not finite": np.array([np.nan, np.inf, -np.inf, 1, 2]),
    "nothing finite": np.array([np.nan]),
    "empty": np.zeros((0, 3)),
    "a scalar": np.array(2.0),
    "whole numbers": np.array([[1, 2], [3, 9]]),
}


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.filterwarnings("error")
def test_a_histogram_counts_every_finite_value_of_any_range(name):
    values = RANGES[name]
    finite = values[np.isfinite(values)]
    counts, edges = histogram(values, 32)
    assert counts.sum() == finite.size
    assert len(edges) == 33 and (np.diff(edges) >= 0).all()
    if finite.size and finite.min() < finite.max():
        assert counts[0] >= 1 and counts[-1] >= 1, "the least and the largest are at the ends"
    elif finite.size:
        assert counts.max() == finite.size
    if name != "all of float64":  # no weights are
        figure = weight_figures.weight_histograms({"a.weight": values, "b.weight": np.arange(3.0)})
        FigureCanvasAgg(figure).draw()


def test_an_ordinary_histogram_is_numpys():
    values = np.random.default_rng(0).normal(size=1000)
    for low, high in ((None, None), (-1.0, 0.5)):
        counts, edges = histogram(values, 20, low, high)
        expected = np.histogram(values, 20, None if low is None else (low, high))
        np.testing.assert_array_equal(counts, expected[0])
        np.testing.assert_allclose(edges, expected[1], atol=1e-12)
