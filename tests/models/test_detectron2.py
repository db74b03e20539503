"""detectron2's weights: its answers from its files, and which files are refused.

The golden answers are detectron2's own (tests/golden/record_detectron2.py); the comparison with
detectron2 where it is installed is in tests/parity/test_detectron2.py.
"""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from tests.golden.seeded import (
    DETECTRON2,
    DETECTRON2_PICTURE,
    Busy,
    detectron2_weights,
    seeded_picture,
)
from tests.parity.matching import match
from tinymaskrcnn.errors import InputError, WeightsError
from tinymaskrcnn.models.builders import build
from tinymaskrcnn.models.detectron2 import DIALECT, detectron2_config
from tinymaskrcnn.models.pretrained import load_model
from tinymaskrcnn.ops.conv2d.winograd import winograd
from tinymaskrcnn.weights import load_weights, save_weights
from tinymaskrcnn.weights.detectron2 import from_detectron2

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "detectron2.npz")
SHAPES = {name: tuple(shape) for name, shape in json.loads(str(GOLDEN["shapes"])).items()}


def names_only(changes=(), without=None):
    """R-50-FPN's names and shapes with arrays that take no memory."""
    shapes = SHAPES | dict(changes)
    return {
        name: np.broadcast_to(np.float32(0), shape)
        for name, shape in shapes.items()
        if without is None or without not in name
    }


@pytest.fixture(scope="module")
def model_zoo_file(tmp_path_factory):
    busy = Busy(**{name: GOLDEN[f"busy/{name}"] for name in Busy._fields})
    path = tmp_path_factory.mktemp("weights") / "model_final.pkl"
    saved = {"model": detectron2_weights(SHAPES, busy), "__author__": "test"}
    with path.open("wb") as file:
        pickle.dump(saved | {"matching_heuristics": True}, file, protocol=4)
    yield path
    path.unlink()


def test_a_model_zoo_file_gives_detectron2s_answers(model_zoo_file):
    model = load_model(model_zoo_file, **DETECTRON2)
    assert model.classes[:2] == ["person", "bicycle"]
    assert len(model.classes) == 80
    height, width, _ = DETECTRON2_PICTURE
    expected = {key: GOLDEN[f"found/{key}"] for key in ("boxes", "labels", "scores")}
    count = len(expected["boxes"])
    bits = np.unpackbits(GOLDEN["found/masks"], count=count * height * width)
    expected["masks"] = bits.reshape(count, 1, height, width)
    with winograd(0):
        (found,) = model.detect([seeded_picture(*DETECTRON2_PICTURE)])
    ours = found.as_dict() | {"masks": found.binary_masks()[:, None]}
    matched = match(ours, expected, 1e-4)
    assert len(ours["boxes"]) == count
    assert not matched.lonely
    a, b = np.array(matched.pairs).T
    probabilities = GOLDEN["found/probabilities"][b].astype(np.float32)
    assert np.abs(found.mask_probabilities[a] - probabilities).max() < 1e-3  # stored as halves
    assert (ours["masks"][a] != expected["masks"][b]).mean() < 1e-5


def test_what_is_saved_for_detectron2_is_what_was_read(model_zoo_file, tmp_path):
    model = load_model(model_zoo_file)
    path = tmp_path / "again.pkl"
    save_weights(path, model.state_dict(), dialect="detectron2")
    written, given = load_weights(path), load_weights(model_zoo_file)
    assert {name: array.shape for name, array in written.items()} == SHAPES
    assert all(np.array_equal(written[name], given[name]) for name in SHAPES)
    saved = pickle.loads(path.read_bytes())  # by these two keys detectron2 knows its own files
    assert saved.keys() == {"model", "__author__"}
    path.unlink()


@pytest.fixture(scope="module")
def plain():
    return build(detectron2_config(names_only()))


def test_training_goes_on_with_the_dialect(plain):
    """The settings are in the config, from which training and its files make the model again."""
    config = detectron2_config(names_only())
    assert (
        config
        == {"builder": "maskrcnn_resnet50_fpn", "num_classes": 81, "norm": "frozen"} | DIALECT
    )
    model = build(json.loads(json.dumps(plain.config)))
    first, second, *_ = model.backbone.body.layer3
    assert (first.conv1.stride, first.conv2.stride, second.conv1.stride) == (2, 1, 1)
    assert model.roi_heads.mask_pool.aligned
    assert model.roi_heads.box_pool.sampling_ratio == 0
    assert model.transform.config.paste == "exact"
    assert model.rpn.anchor_generator.strides == (4, 8, 16, 32, 64)


# Kinds of models


def with_norms(kind, convs=1, tracked=False):
    """The names of a model with norms in pyramid and heads, as Misc/mask_rcnn_R_50_FPN_3x_gn."""
    lost = "mask_fcn", ".bias"
    shapes = {
        k: s for k, s in SHAPES.items() if not (lost[0] in k or "fpn_" in k) or lost[1] not in k
    }
    shapes = {k: s for k, s in shapes.items() if "box_head" not in k and "rpn_head.conv." not in k}
    parts = ["weight", "bias", "running_mean", "running_var"]
    if kind == "group":
        parts = parts[:2]
        shapes = {k: s for k, s in shapes.items() if "running" not in k}
    layers = [f"backbone.fpn_{way}{i}" for way in ("lateral", "output") for i in (2, 3, 4, 5)]
    layers += [
        f"roi_heads.{head}{i}"
        for head in ("box_head.conv", "mask_head.mask_fcn")
        for i in (1, 2, 3, 4)
    ]
    shapes |= {f"{layer}.norm.{part}": (256,) for layer in layers for part in parts}
    shapes |= {f"roi_heads.box_head.conv{i}.weight": (256, 256, 3, 3) for i in (1, 2, 3, 4)}
    shapes |= {
        "roi_heads.box_head.fc1.weight": (1024, 12544),
        "roi_heads.box_head.fc1.bias": (1024,),
    }
    for i in range(convs):
        name = "proposal_generator.rpn_head.conv." + (f"conv{i}." if convs > 1 else "")
        shapes |= {f"{name}weight": (256, 256, 3, 3), f"{name}bias": (256,)}
    if tracked:
        shapes |= {"backbone.bottom_up.stem.conv1.norm.num_batches_tracked": ()}
    return {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    "state, expected",
    [
        (
            with_norms("group"),
            {"norm": "group", "norm_groups": 32, "rpn_convs": 1, "stride_in_1x1": False},
        ),
        (
            with_norms("batch", tracked=True),
            {"norm": "batch", "rpn_convs": 1, "stride_in_1x1": True},
        ),
        (
            with_norms("batch", convs=2),
            {"norm": "batch", "rpn_convs": 2, "min_size": 1024, "max_size": 1024},
        ),
    ],
    ids=["gn", "syncbn", "lsj"],
)
def test_norms_in_the_heads(state, expected):
    config = detectron2_config(state)
    assert config["builder"] == "maskrcnn_resnet50_fpn_v2"
    assert expected.items() <= config.items()
    own = {name: array.shape for name, array in build(config).state_dict().items()}
    assert own == {name: array.shape for name, array in from_detectron2(state).items()}


def test_a_group_norm_has_32_groups_everywhere():
    """Ours would have 16 for the stem's 64 channels."""
    body = build(detectron2_config(with_norms("group"))).backbone.body
    assert body.bn1.num_groups == body.layer1[0].bn1.num_groups == 32


def test_r101_and_lvis_are_recognised():
    blocks = {k: s for k, s in SHAPES.items() if ".res4.1." in k}
    more = {k.replace("res4.1", f"res4.{i}"): s for k, s in blocks.items() for i in range(6, 23)}
    classes = {
        "roi_heads.box_predictor.cls_score.weight": (1204, 1024),
        "roi_heads.box_predictor.bbox_pred.weight": (4 * 1203, 1024),
        "roi_heads.mask_head.predictor.weight": (1203, 256, 1, 1),
    }
    config = detectron2_config(names_only(more | classes))
    assert config["builder"] == "maskrcnn_resnet101_fpn"
    assert (config["box_score_thresh"], config["box_detections_per_img"]) == (1e-4, 300)


# Refusals


@pytest.mark.parametrize(
    "name, reason",
    [
        ("roi_heads.box_predictor.0.cls_score.weight", "Cascade R-CNN"),
        ("roi_heads.res5.0.conv1.weight", "C4"),
        ("backbone.res4.0.conv1.weight", "DC5 or C4"),
        ("roi_heads.mask_head.point_head.fc1.weight", "PointRend"),
        ("backbone.bottom_up.res4.0.conv2_offset.weight", "deformable convolutions"),
        ("roi_heads.keypoint_head.conv_fcn1.weight", "keypoints"),
        ("sem_seg_head.predictor.weight", "panoptic segmentation"),
        ("roi_heads.mask_head.surprise.weight", "has no place"),
    ],
)
def test_other_families_are_refused_by_name(name, reason):
    with pytest.raises(WeightsError, match=rf"{reason}(.|\n)*{name}|{name}(.|\n)*{reason}"):
        detectron2_config(names_only({name: (4,)}))


@pytest.mark.parametrize(
    "changes, without, reason",
    [
        ({"backbone.bottom_up.res2.0.conv2.weight": (64, 8, 3, 3)}, None, "ResNeXt"),
        ({"roi_heads.box_predictor.bbox_pred.weight": (4, 1024)}, None, "class-agnostic boxes"),
        ({"roi_heads.mask_head.predictor.weight": (1, 256, 1, 1)}, None, "class-agnostic masks"),
        ({}, "mask_head", "Faster R-CNN"),
        ({}, "roi_heads", "not a Mask R-CNN"),
        ({}, "res4.5", r"\(3, 4, 5, 3\) blocks"),
    ],
)
def test_what_only_shapes_tell_is_refused(changes, without, reason):
    with pytest.raises(WeightsError, match=reason):
        detectron2_config(names_only(changes, without))


@pytest.mark.parametrize(
    "changes, without, reason",
    [
        ({}, "res3.2.conv2.weight", "missing: backbone.body.layer2.2.conv2.weight"),
        (
            {"backbone.fpn_output6.weight": (256, 256, 3, 3)},
            None,
            "unexpected: backbone.fpn.layer_blocks.4.0.weight",
        ),
        (
            {"roi_heads.box_head.fc2.bias": (7,)},
            None,
            r"another shape: roi_heads.box_head.fc7.bias \(7,\)",
        ),
    ],
)
def test_what_does_not_fit_is_one_line_by_name(plain, changes, without, reason):
    with pytest.raises(InputError, match=reason) as caught:
        plain.load_state_dict(names_only(changes, without))
    assert "\n" not in str(caught.value)
