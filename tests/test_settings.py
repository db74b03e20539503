"""Settings of the builders: what cannot be is refused by name before anything is built."""

import pytest

import tinymaskrcnn as tm
from tinymaskrcnn.models.builders import TINY
from tinymaskrcnn.settings import KINDS, check_settings

IMPOSSIBLE = ("abc", None, True, (), {}, float("nan"), float("inf"), (1, "x"), [None], ((1,),))
PAIRS = [
    (name, value)
    for name in KINDS
    for value in IMPOSSIBLE
    if (name, value) != ("box_class_agnostic_nms", True)
]


@pytest.mark.parametrize("name, value", PAIRS, ids=lambda value: repr(value))
def test_impossible_values_are_named(name, value):
    settings = {"num_classes": 4, name: value}
    with pytest.raises(tm.InputError, match=f"^{name}: expected .*, got"):
        tm.maskrcnn_tiny(**settings)


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"num_classes": 1}, "num_classes: expected a whole number from 2 to 16384, got 1"),
        ({"min_size": 0}, "min_size: expected a whole number from 1 to 65536, or several, got 0"),
        ({"max_size": 1.5}, "max_size: expected a whole number from 1 to 65536, got 1.5"),
        ({"widths": 3}, "widths: expected 4 values, each a whole number from 1 to 16384, got 3"),
        ({"widths": (8, 8, 8)}, r"widths: expected 4 values, .* got \(8, 8, 8\)"),
        (
            {"anchor_sizes": (8, 16)},
            "anchor_sizes: expected 5 values, each a number from 0.001 to 1e.06",
        ),
        ({"aspect_ratios": (1, -1)}, "aspect_ratios: expected one or more values, each a number"),
        ({"rpn_nms_thresh": 1.5}, "rpn_nms_thresh: expected a number from 0 to 1, got 1.5"),
        (
            {"rpn_pre_nms_top_n_test": -1},
            "rpn_pre_nms_top_n_test: expected a whole number from 0 to",
        ),
        ({"box_bg_iou_thresh": 0.7}, "background below 0.7 is above objects from 0.5"),
        ({"image_std": (1, 1)}, r"image_std: expected 3 values, one a channel, got \(1, 1\)"),
        ({"in_channels": 2, "image_mean": (0, 0, 0)}, "image_mean: expected 2 values"),
        ({"norm": "layer"}, "norm: expected 'frozen' or 'batch' or 'group', got 'layer'"),
    ],
)
def test_messages(settings, said):
    with pytest.raises(tm.InputError, match=said):
        tm.maskrcnn_tiny(**settings)


def test_settings_of_another_builder_are_unknown():
    with pytest.raises(tm.InputError, match="maskrcnn_resnet18_fpn has no setting 'widths'"):
        tm.maskrcnn_resnet18_fpn(widths=(8, 8, 8, 8))


def test_the_defaults_pass():
    check_settings("maskrcnn_tiny", TINY)


def test_lists_as_from_json_pass():
    tm.maskrcnn_tiny(widths=[8, 8, 16, 16], bbox_reg_weights=[1, 1, 1, 1], min_size=[64, 96])
