"""Every figure of every stage is drawn of a real trace, and holds as many boxes as it should."""

import inspect

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import tinymaskrcnn as tm
from tinymaskrcnn.detection.fates import Fate
from tinymaskrcnn.viz import colours, figures

CLASSES = ["square", "circle", "triangle"]
NO_FIGURES = {"filter_counts", "recalls", "errors_of", "weight_statistics"}
FIGURES = sorted(set(figures.__all__) - NO_FIGURES)
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
    """A picture with objects, by a model that finds many things."""
    image, target = tm.ToyShapes(3, size=64, min_objects=2, max_objects=3)[0]
    model = model_of(box_score_thresh=0.2).eval()
    return model, *trace_of(model, image, target)


@pytest.fixture(scope="module")
def quiet():
    """A picture without objects, by a model that finds nothing."""
    image, _ = tm.ToyShapes(3, size=64)[0]
    model = model_of(box_score_thresh=0.99).eval()
    return model, *trace_of(model, image, EMPTY)


def draw(name, model, t, slopes):
    function = getattr(figures, name)
    wanted = inspect.signature(function).parameters
    first = {"gradient_maps": slopes, "weight_histograms": model.state_dict()}.get(name, t)
    return function(first, **({"classes": CLASSES} if "classes" in wanted else {}))


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("kind", ["busy", "quiet"])
def test_drawn_with_and_without_objects(name, kind, request):
    if kind == "quiet" and name in ("sampling_points", "pooled_crops", "class_masks"):
        name_of_pool = "detect.mask_logits" if name == "class_masks" else "detect.box_pool.rois"
        if len(request.getfixturevalue(kind)[1][name_of_pool]) == 0:
            return  # there is no region to ask for
    figure = draw(name, *request.getfixturevalue(kind))
    assert isinstance(figure, Figure)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())
    assert pixels.std() > 1, "an empty figure"


def boxes_in(figure, colour):
    """How many rectangles of this edge colour."""
    from matplotlib.colors import to_hex

    patches = [patch for axis in figure.axes for patch in axis.patches]
    return sum(
        isinstance(p, Rectangle) and not p.get_fill() and to_hex(p.get_edgecolor()) == colour
        for p in patches
    )


def test_counts_of_boxes(busy):
    _, t, _ = busy
    kept = int((t["detect.candidates.fates"][0] == Fate.KEPT).sum())
    candidates = figures.candidate_fates(t)
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
    odd = {row["name"]: row["odd"] for row in figures.weight_statistics(state)}
    assert odd == {
        "good": "",
        "zero": "all zero",
        "equal": "all equal",
        "bad": "not finite",
        "large": "large",
    }
    row = figures.weight_statistics(state)[0]
    assert (row["least"], row["largest"], row["mean"], row["std"]) == (-2, 1, -0.5, 1.5)


def test_colours_differ_also_for_colour_blind_readers():
    """Machado et al. 2009, full deuteranopia and protanopia: no two things look alike."""
    deutan = "0.367322 0.860646 -0.227968 0.280085 0.672501 0.047413 -0.011820 0.042940 0.968881"
    protan = "0.152286 1.052583 -0.204868 0.114503 0.786281 0.099216 -0.003882 -0.048116 1.051998"
    blind = [np.array(text.split(), float).reshape(3, 3) for text in (deutan, protan)]
    names = list(colours.THINGS)
    rgb = np.array(
        [[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in colours.THINGS.values()]
    )
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    for matrix in [np.eye(3), *blind]:
        seen = np.clip(linear @ matrix.T, 0, 1) ** (1 / 2.4)
        for i in range(len(names)):
            for j in range(i):
                assert np.linalg.norm(seen[i] - seen[j]) > 0.1, (names[i], names[j])
