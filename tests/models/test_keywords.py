"""The builders' keyword settings: what cannot be is refused by name before anything is built."""

from dataclasses import fields

import pytest

import tinymaskrcnn as tm
from tinymaskrcnn.models.keywords import (
    COMMON,
    ResNetConfig,
    TinyConfig,
    changed,
    keywords,
)
from tinymaskrcnn.settings import check

KEYWORDS = keywords(ResNetConfig, TinyConfig)
IMPOSSIBLE = ("abc", None, True, (), {}, float("nan"), float("inf"), (1, "x"), [None], ((1,),))
PAIRS = [
    (name, value)
    for name in KEYWORDS
    for value in IMPOSSIBLE
    if not (value is True and isinstance(KEYWORDS[name].default, bool))
    and not (value is None and KEYWORDS[name].default is None)
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
        ({"image_std": (1, 1)}, r"image_std: expected 3 values, one per channel, got \(1, 1\)"),
        ({"in_channels": 2, "image_mean": (0, 0, 0)}, "image_mean: expected 2 values"),
        ({"rpn_nms_thresh": 10**400}, "rpn_nms_thresh: expected a number from 0 to 1, got 1000"),
        ({"min_size": 16**5000}, "min_size: expected .*, got a number of too many digits"),
        ({"scale": 65}, "scale: expected a number from 0.015625 to 64, or None, got 65"),
        ({"object_sizes": (1, 2)}, "object_sizes: expected 3 values, each a number from 0 to 6"),
        ({"norm": "layer"}, "norm: expected 'frozen' or 'batch' or 'group', got 'layer'"),
    ],
)
def test_messages(settings, said):
    with pytest.raises(tm.InputError, match=said):
        tm.maskrcnn_tiny(**settings)


def test_settings_of_another_builder_are_unknown():
    with pytest.raises(tm.InputError, match="maskrcnn_resnet18_fpn has no setting 'widths'"):
        tm.maskrcnn_resnet18_fpn(widths=(8, 8, 8, 8))


def test_a_setting_that_a_body_lacks_is_not_ignored():
    with pytest.raises(tm.InputError, match="maskrcnn_vgg16_fpn has no setting 'norm'"):
        tm.maskrcnn_vgg16_fpn(norm="batch")


def test_a_misspelt_setting_is_answered_with_the_right_one():
    with pytest.raises(tm.InputError, match="no setting 'min_sise', did you mean min_size"):
        tm.maskrcnn_tiny(min_sise=3)


@pytest.mark.parametrize("part", [*COMMON, ResNetConfig, TinyConfig])
def test_the_defaults_pass(part):
    for each in fields(part):
        check(each.name, each, each.default)


def test_lists_as_from_json_pass():
    tm.maskrcnn_tiny(widths=[8, 8, 16, 16], bbox_reg_weights=[1, 1, 1, 1], min_size=[64, 96])


def test_a_new_size_ends_a_fixed_scale():
    config = {"builder": "maskrcnn_tiny", "scale": 2.0, "min_size": 64}
    assert changed(config, {"max_size": 80}) == {**config, "max_size": 80, "scale": None}
    assert changed(config, {"max_size": 80, "scale": 3.0})["scale"] == 3.0
    assert changed(config, {"box_nms_thresh": 0.5})["scale"] == 2.0


def test_both_names_of_the_offsets_weights():
    for name in ("bbox_reg_weights", "box_reg_weights"):
        model = tm.maskrcnn_tiny(**{name: (1, 2, 3, 4)})
        assert model.roi_heads.config.reg_weights == (1, 2, 3, 4)
        assert model.config[name] == [1, 2, 3, 4]
