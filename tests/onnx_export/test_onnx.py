"""Exported models in ONNX Runtime: the same detections as the model's own."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tinymaskrcnn as tm
from tests.golden.seeded import seeded_picture
from tests.test_cli import run
from tinymaskrcnn.models.detectron2 import DIALECT
from tinymaskrcnn.models.transform import Transform, TransformConfig
from tinymaskrcnn.onnx_export.graph import FLOAT, INT64, Graph
from tinymaskrcnn.onnx_export.images import resized_size
from tinymaskrcnn.onnx_export.onnx_model import onnx_model

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

DATA = Path(__file__).parents[2] / "data"
NAMES = ("boxes", "labels", "scores", "masks")
DETECTRON2 = {k: v for k, v in DIALECT.items() if not k.startswith("image_")}


def session(model):
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    content = model if isinstance(model, str) else model.SerializeToString()
    return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def detect(opened, image):
    found = dict(zip(NAMES, opened.run(NAMES, {"image": image}), strict=True))
    assert all(np.isfinite(array).all() for array in found.values())
    return found


def require_equal(found, expected):
    """Every detection has its own counterpart: label, IoU > 0.99, score within 1e-4, at most one
    pixel of the mask in 10,000 on another side of 0.5."""
    assert {n: a.shape for n, a in found.items()} == {n: a.shape for n, a in expected.items()}
    assert {n: a.dtype for n, a in found.items()} == {n: a.dtype for n, a in expected.items()}
    free = set(range(len(found["boxes"])))
    overlap = np.asarray(tm.box_iou(expected["boxes"], found["boxes"])) if free else None
    for i, label in enumerate(expected["labels"]):
        alike = [
            k
            for k in free
            if found["labels"][k] == label
            and overlap[i, k] > 0.99
            and abs(found["scores"][k] - expected["scores"][i]) < 1e-4
        ]
        assert alike, f"nothing like detection {i}"
        best = max(alike, key=lambda k: overlap[i, k])
        free.remove(best)
        assert np.mean((found["masks"][best] > 0.5) != (expected["masks"][i] > 0.5)) <= 1e-4


def filled(found, count):
    """Split fixed results into the first `count` rows and the rest."""
    return ({n: a[:count] for n, a in found.items()}, {n: a[count:] for n, a in found.items()})


def lively(model, image):
    """Give a new model norms that matter, and heads that find many objects in the image."""
    rng = np.random.default_rng(0)
    for name, module in model.named_modules():
        if hasattr(module, "eps"):
            count = len(module.bias)
            last = 0.3 if name.endswith(("bn3", "bn2")) else 1  # residual blocks that change little
            assign(module, "weight", last * rng.uniform(0.8, 1.2, count))
            assign(module, "bias", 0.1 * rng.standard_normal(count))
            if hasattr(module, "running_var"):
                assign(module, "running_mean", 0.1 * rng.standard_normal(count))
                assign(module, "running_var", rng.uniform(0.5, 1.5, count))
    model.eval()
    spread(model, image, model.rpn.head.cls_logits, "rpn.objectness", 2)
    spread(model, image, model.rpn.head.bbox_pred, "rpn.deltas", 0.3)
    spread(model, image, model.roi_heads.box_predictor.cls_score, "detect.class_logits", 3)
    spread(model, image, model.roi_heads.box_predictor.bbox_pred, "detect.box_deltas", 0.5)
    spread(model, image, model.roi_heads.mask_predictor.mask_fcn_logits, "detect.mask_logits", 3)
    return model


def assign(module, name, values):
    old = getattr(module, name)
    values = values.astype(np.float32)
    if isinstance(old, np.ndarray):
        setattr(module, name, values)
    else:
        old.data = values


def spread(model, image, layer, traced, wanted):
    """Scale a layer so that its results on the image differ so much."""
    with tm.trace() as trace:
        model([image])
    results = trace[traced]
    layer.weight.data *= np.float32(wanted / np.std(getattr(results, "data", results)))


@pytest.fixture(scope="module", params=["shapes", "nuclei"])
def shipped(request):
    """A shipped model, and images of its kind."""
    files = sorted((DATA / request.param).glob("*.png"))
    return tm.load_model(request.param), [tm.read_image(file) for file in files]


@pytest.fixture(scope="module")
def shapes():
    return tm.load_model("shapes")


# The shipped models


def test_every_detection_is_the_same(shipped):
    model, images = shipped
    opened = session(onnx_model(model))
    for image in images:
        expected = model([image])[0]
        assert len(expected["boxes"]) > 2
        require_equal(detect(opened, image), expected)


def test_with_fixed_shapes(shipped):
    model, images = shipped
    opened = session(onnx_model(model, size=images[0].shape[1:]))
    for image in images[:2]:
        expected = model([image])[0]
        found = detect(opened, image)
        assert len(found["boxes"]) == model.config["box_detections_per_img"]
        detections, rest = filled(found, len(expected["boxes"]))
        require_equal(detections, expected)
        assert not any(array.any() for array in rest.values())


def test_with_masks_as_the_head_draws_them(shipped):
    model, images = shipped
    opened = session(onnx_model(model, paste_masks=False))
    expected, found = model.detect(images[:1])[0], detect(opened, images[0])
    assert found["masks"].shape == (len(expected), 28, 28)
    masks = tm.paste_masks(found["masks"], found["boxes"], *images[0].shape[1:])
    require_equal({**found, "masks": masks[:, None]}, expected.as_dict())


@pytest.mark.parametrize("sides", [(256, 256), (100, 333)])
def test_images_of_any_size(sides):
    """Smaller and larger than the model's, and narrower than a cell of its coarsest map."""
    model = tm.load_model("shapes", min_size=sides[0], max_size=sides[1])
    opened = session(onnx_model(model))
    for size in [(1, 1), (1, 60), (90, 2), (37, 91), (257, 140), (64, 500), (301, 277)]:
        image = seeded_picture(*size, 3)
        require_equal(detect(opened, image), model([image])[0])


@pytest.mark.parametrize("size", [(1, 1), (37, 91), (301, 277)])
def test_any_fixed_size(shapes, size):
    image = seeded_picture(*size, 3)
    expected, found = shapes([image])[0], detect(session(onnx_model(shapes, size=size)), image)
    require_equal(filled(found, len(expected["boxes"]))[0], expected)


@pytest.mark.parametrize(
    "settings",
    [
        {"box_class_agnostic_nms": True, "box_score_thresh": 0.0},
        {"box_score_thresh": -1.0, "box_nms_thresh": 0.9},
        {"rpn_score_thresh": 0.4, "rpn_post_nms_top_n_test": 9, "size_divisor": 7},
        {"canonical_scale": 60, "box_reg_weights": (5.0, 5.0, 2.0, 2.0), "rpn_nms_thresh": 0.3},
        {"image_mean": (0.1, 0.2, 0.3), "image_std": (0.5, 1.0, 2.0), "min_size": (64, 200)},
        {**DETECTRON2, "min_size": 100, "max_size": 333},  # shrinks, so that Pillow averages
        {**DETECTRON2, "min_size": 300, "max_size": 333},
    ],
)
def test_settings_are_followed(shapes, settings):
    model = tm.load_model("shapes", **settings)
    image = tm.read_image(DATA / "shapes/shapes_022.png")
    expected = model([image])[0]
    assert len(expected["boxes"]) > 2
    require_equal(detect(session(onnx_model(model)), image), expected)


@pytest.mark.parametrize("settings", [{"box_score_thresh": 1.0}, {"rpn_score_thresh": 2.0}])
@pytest.mark.parametrize("paste_masks", [True, False])
def test_nothing_found(settings, paste_masks):
    """No detections; and no proposals at all."""
    model, image = tm.load_model("shapes", **settings), seeded_picture(40, 60, 0)
    ends = (1, 40, 60) if paste_masks else (28, 28)
    found = detect(session(onnx_model(model, paste_masks)), image)
    assert {n: a.shape for n, a in found.items()} == {
        "boxes": (0, 4), "labels": (0,), "scores": (0,), "masks": (0, *ends),
    }  # fmt: skip
    found = detect(session(onnx_model(model, paste_masks, (40, 60))), image)
    assert len(found["boxes"]) == 50 and not any(array.any() for array in found.values())


# Every builder

SMALL = {
    "num_classes": 5,
    "min_size": 80,
    "max_size": 120,
    "anchor_sizes": (8, 16, 32, 64, 128),
    "canonical_scale": 60,
    "rpn_pre_nms_top_n_test": 60,
    "rpn_post_nms_top_n_test": 30,
    "box_detections_per_img": 20,
}


@pytest.mark.parametrize(
    ("builder", "settings"),
    [
        ("maskrcnn_resnet18_fpn", {"norm": "frozen"}),
        ("maskrcnn_resnet34_fpn", {"norm": "batch"}),
        ("maskrcnn_resnet50_fpn", {"norm": "group"}),
        ("maskrcnn_resnet101_fpn", {"norm": "frozen", "norm_eps": 1e-3}),
        ("maskrcnn_resnet50_fpn_v2", {"norm": "batch", "rpn_convs": 1, "stride_in_1x1": True}),
        ("maskrcnn_vgg16_fpn", {}),
        ("maskrcnn_tiny", {"norm": "group", "blocks": (2, 1, 1, 3), "widths": (8, 8, 12, 16)}),
        ("maskrcnn_tiny", {"norm": "frozen", "in_channels": 1, "aspect_ratios": (1.0,)}),
    ],
)
def test_every_builder(builder, settings):
    model = getattr(tm, builder)(**SMALL | settings)
    image = seeded_picture(70, 110, 1)[: model.in_channels]
    expected = lively(model, image)([image])[0]
    assert len(expected["boxes"]) > 5
    require_equal(detect(session(onnx_model(model)), image), expected)


def test_group_norms_in_the_heads_also_without_boxes():
    model, image = tm.maskrcnn_resnet50_fpn_v2(**SMALL, norm="group"), seeded_picture(70, 110, 1)
    expected = lively(model, image)([image])[0]
    assert len(expected["boxes"]) > 5
    require_equal(detect(session(onnx_model(model)), image), expected)
    model.rpn.config = replace(model.rpn.config, score_thresh=2.0)
    assert len(detect(session(onnx_model(model)), image)["boxes"]) == 0


# The file


def test_the_graph_is_plain(shapes):
    model = onnx_model(shapes)
    onnx.checker.check_model(model, full_check=True)
    assert [opset.version for opset in model.opset_import] == [18]
    assert not {node.op_type for node in model.graph.node} & {"Loop", "If", "Scan"}
    assert onnx_model(shapes).SerializeToString(deterministic=True) == model.SerializeToString(
        deterministic=True
    )


def test_fixed_shapes_are_fixed(shapes):
    """All but what NonMaxSuppression returns, and what is gathered with that."""
    model = onnx_model(shapes, size=(100, 130))
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    fixed = {
        info.name
        for info in [*model.graph.value_info, *model.graph.output]
        if all(dim.HasField("dim_value") for dim in info.type.tensor_type.shape.dim)
    }
    free = {node.op_type for node in model.graph.node if not fixed.issuperset(node.output)}
    assert free == {"NonMaxSuppression", "Gather", "GatherND"}


def test_metadata_says_what_the_model_is(shapes):
    stored = session(onnx_model(shapes)).get_modelmeta().custom_metadata_map
    assert json.loads(stored["classes"]) == shapes.classes == ["square", "circle", "triangle"]
    config = json.loads(stored["config"])
    assert config == shapes.config
    again = tm.build(config)
    assert {k: v.shape for k, v in again.state_dict().items()} == {
        k: v.shape for k, v in shapes.state_dict().items()
    }


@pytest.mark.parametrize(
    "config",
    [
        TransformConfig(),
        TransformConfig(min_size=49, max_size=100),
        TransformConfig(min_size=(640, 333), max_size=10_000),
        TransformConfig(min_size=100, max_size=166, round_sides=True),
    ],
)
def test_sizes_are_those_of_the_transform(config):
    """To the pixel: the scale is a double, and the product is truncated or rounded."""
    g = Graph()
    g.output("size", resized_size(g, config, g.Shape(g.input("image"))[1:3]))
    shape = {"image": (FLOAT, [1, "height", "width"])}
    opened = session(g.finish(shape, {"size": (INT64, [2])}, {}))
    for height in range(1, 700, 3):
        width = 1 + height * height % 701
        (found,) = opened.run(None, {"image": np.zeros((1, height, width), np.float32)})
        assert tuple(found) == Transform(config).resized_size((height, width))


@pytest.mark.skipif(not hasattr(TransformConfig, "scale"), reason="models have no fixed scale")
@pytest.mark.parametrize("scale", [0.37, 2.5])
def test_a_fixed_scale_is_followed(scale):
    """Also by the limits of proposals and detections, which grow with the image."""
    model, image = tm.load_model("shapes", box_score_thresh=0.0), seeded_picture(75, 210, 3)
    settings = {"scale": scale, "box_detections_per_img": 3, "rpn_post_nms_top_n_test": 20}
    model = tm.build({**model.config, **settings}).eval()
    model.load_state_dict(tm.load_model("shapes").state_dict())
    expected = model([image])[0]
    require_equal(detect(session(onnx_model(model)), image), expected)
    found = detect(session(onnx_model(model, size=image.shape[1:])), image)
    require_equal(filled(found, len(expected["boxes"]))[0], expected)
    assert scale < 1 or len(expected["boxes"]) > 3


def test_a_model_in_training_stays_as_it_is():
    model = tm.maskrcnn_tiny().train()
    before = {name: array.copy() for name, array in model.state_dict().items()}
    onnx_model(model, size=(64, 64))
    assert model.training and model.backbone.training
    assert all((array == before[name]).all() for name, array in model.state_dict().items())


# What cannot be exported


def test_a_setting_that_the_graph_lacks_is_named(shapes):
    shapes.config["deformable"] = True
    try:
        with pytest.raises(tm.InputError, match=r"does not support the setting deformable \(True"):
            onnx_model(shapes)
    finally:
        del shapes.config["deformable"]


@pytest.mark.parametrize("part", ["backbone.body", "rpn.head", "roi_heads.box_head"])
def test_a_part_that_has_no_form_is_named(part):
    class Mine(tm.nn.Module):
        pass

    model = tm.maskrcnn_tiny()
    owner, _, name = part.rpartition(".")
    setattr(
        {"backbone": model.backbone, "rpn": model.rpn}.get(owner, model.roi_heads), name, Mine()
    )
    with pytest.raises(tm.InputError, match="export has no ONNX form for Mine"):
        onnx_model(model)


def test_more_weights_than_a_file_holds(shapes, monkeypatch):
    monkeypatch.setattr("tinymaskrcnn.onnx_export.graph.LARGEST", 1_000_000)
    with pytest.raises(tm.InputError, match="an ONNX file holds at most 2 GiB"):
        onnx_model(shapes)


# The command


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_writes_a_file_that_runs(folder, capsys):
    status, out, err = run(capsys, "export", "shapes", "--out", "a.onnx")
    size = Path("a.onnx").stat().st_size / 1e6
    assert (status, err) == (0, "")
    assert out == f"a.onnx: 3 classes, images of any size ({size:.1f} MB)\n"
    image = tm.read_image(DATA / "shapes/shapes_011.png")
    require_equal(detect(session("a.onnx"), image), tm.load_model("shapes")([image])[0])


def test_the_commands_options(folder, capsys):
    words = ["--masks", "28", "--fixed", "50", "70", "--score", "0.5"]
    status, out, _ = run(capsys, "export", "nuclei", "--out", "b.onnx", *words)
    assert status == 0 and "1 class, images of 50x70" in out
    opened = session("b.onnx")
    assert [tuple(o.shape) for o in opened.get_outputs()][3] == (100, 28, 28)
    assert (
        json.loads(opened.get_modelmeta().custom_metadata_map["config"])["box_score_thresh"] == 0.5
    )


def test_what_the_command_may_replace(folder, capsys):
    words = ["export", "shapes", "--out", "a.onnx"]
    assert [run(capsys, *words)[0] for _ in range(2)] == [0, 0]  # its own file
    Path("a.onnx").write_bytes(b"years of work")
    status, _, err = run(capsys, *words)
    assert status == 2 and err.endswith("did not write that file; --force replaces it\n")
    assert run(capsys, *words, "--force")[0] == 0
    weights = Path("mine.onnx")
    tm.save_weights(weights, tm.load_model("shapes").state_dict(), {"config": "{}"})
    before = weights.read_bytes()
    status, _, err = run(capsys, "export", "mine.onnx", "--out", "mine.onnx", "--force")
    assert status == 2 and "this is one of the inputs" in err
    assert weights.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["shapes", "--out", "a.pb"], "--out a.pb: expected a name that ends in .onnx"),
        (["shapes", "--out", "no/a.onnx"], "--out no/a.onnx: there is no folder no"),
        (["nix", "--out", "a.onnx"], "nix: no such weights; expected a file, or one of"),
        (["shapes", "--out", "a.onnx", "--fixed", "0", "9"], "argument --fixed: 0: expected at"),
        (["shapes", "--out", "a.onnx", "--masks", "14"], "argument --masks: invalid choice: '14'"),
    ],
)
def test_calls_that_cannot_be(folder, capsys, words, message):
    status, _, err = run(capsys, "export", *words)
    assert status == 2 and message in err and err.count("\n") == 1
    assert list(folder.iterdir()) == []


def test_without_the_package_onnx(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    status, _, err = run(capsys, "export", "shapes", "--out", "a.onnx")
    assert status == 2 and err.endswith("pip install 'tinymaskrcnn[onnx]'\n")
    assert err.count("\n") == 1 and list(folder.iterdir()) == []
