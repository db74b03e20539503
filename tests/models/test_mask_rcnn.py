"""The assembled model: losses, detections, both from one call, empties, names, settings, seeds."""

import json

import numpy as np
import pytest

import tinymaskrcnn as tm
from tinymaskrcnn.models.builders import BUILDERS, build

FIVE = ["loss_box_reg", "loss_classifier", "loss_mask", "loss_objectness", "loss_rpn_box_reg"]
EMPTY = {
    "boxes": np.zeros((0, 4), np.float32),
    "labels": np.zeros(0, np.int64),
    "masks": np.zeros((0, 64, 64), np.uint8),
}


@pytest.fixture(scope="module")
def shapes():
    data = tm.ToyShapes(2, size=64, min_objects=2, max_objects=3)
    return [list(part) for part in zip(*(data[i] for i in range(2)), strict=True)]


def tiny(**settings):
    return tm.maskrcnn_tiny(min_size=64, max_size=64, **settings)


def total(losses):
    return sum(losses.values())


def test_five_losses_that_reach_every_parameter(shapes, backend):
    model = tiny()
    losses = model(*shapes)
    assert sorted(losses) == FIVE
    total(losses).backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None]
    assert not missing
    assert all(np.isfinite(p.grad).all() for p in model.parameters())


def test_backends_agree(shapes):
    results = []
    for name in ("reference", "cpu"):
        with tm.use(name):
            model = tiny(seed=3)
            losses = model(*shapes, rng=np.random.default_rng(1))
            total(losses).backward()
            results.append((losses, {n: p.grad for n, p in model.named_parameters()}))
    (one, one_grads), (other, other_grads) = results
    for name in FIVE:
        assert one[name].item() == pytest.approx(other[name].item(), rel=1e-4)
    for name, grad in one_grads.items():
        scale = np.linalg.norm(grad) + 1e-6
        assert np.linalg.norm(grad - other_grads[name]) / scale < 5e-3, name


def test_images_without_objects_train(shapes, backend):
    images, targets = shapes
    for some in ([EMPTY, EMPTY], [EMPTY, targets[1]]):
        model = tiny()
        losses = model(images, some)
        total(losses).backward()
        assert all(np.isfinite(loss.item()) for loss in losses.values())
        about_objects = [
            losses[f"loss_{name}"].item() for name in ("box_reg", "rpn_box_reg", "mask")
        ]
        assert all(about_objects) if some[1] is targets[1] else about_objects == [0, 0, 0]


def test_detections_have_torchvisions_form(shapes, backend):
    model = tiny(box_score_thresh=0.0).eval()
    images = [shapes[0][0], shapes[0][1][:, :40, :56]]
    for image, found in zip(images, model(images), strict=True):
        count = len(found["boxes"])
        assert count > 0
        assert found["boxes"].shape == (count, 4)
        assert found["labels"].dtype == np.int64
        assert set(found["labels"]) <= {1, 2, 3}
        assert (np.diff(found["scores"]) <= 0).all()
        assert found["masks"].shape == (count, 1, *image.shape[1:])
        assert found["masks"].min() >= 0
        assert found["masks"].max() <= 1
        assert (found["boxes"] >= 0).all()
        assert (found["boxes"][:, 2:] <= np.array(image.shape[:0:-1]) + 1e-3).all()


def test_no_detections(shapes, backend):
    (found,) = tiny(box_score_thresh=0.999).eval()(shapes[0][:1])
    assert found["boxes"].shape == (0, 4)
    assert found["masks"].shape == (0, 1, 64, 64)


def test_losses_and_detections_from_one_call(shapes):
    model = tiny(box_score_thresh=0.0).eval()
    losses, detections = model.evaluate_losses(*shapes, rng=np.random.default_rng(0))
    assert sorted(losses) == FIVE
    assert all(isinstance(value, float) for value in losses.values())
    alone = model.detect(shapes[0])
    for one, other in zip(detections, alone, strict=True):
        np.testing.assert_array_equal(one.boxes, other.boxes)
        np.testing.assert_array_equal(one.mask_probabilities, other.mask_probabilities)


def test_losses_without_targets_are_an_error(shapes):
    with pytest.raises(tm.InputError, match="need targets"):
        tiny()(shapes[0])
    with pytest.raises(tm.InputError, match="need targets"):
        tiny().eval().evaluate_losses(shapes[0], None)


def test_a_label_without_a_class_is_named(shapes):
    images, targets = shapes
    wrong = [targets[0], targets[1] | {"labels": np.full_like(targets[1]["labels"], 4)}]
    with pytest.raises(tm.InputError, match="target 1: label 4, expected 1 to 3"):
        tiny()(images, wrong)


def test_images_of_different_sizes_train_together(shapes, backend):
    images, targets = shapes
    cut = {**targets[1], "masks": targets[1]["masks"][:, :48, :40]}
    cut["boxes"] = np.clip(cut["boxes"], 0, [39, 47, 40, 48]) + np.float32([[0, 0, 0.5, 0.5]])
    losses = tiny()([images[0], images[1][:, :48, :40]], [targets[0], cut])
    assert sorted(losses) == FIVE
    assert all(np.isfinite(loss.item()) for loss in losses.values())


def test_training_is_repeatable_bit_for_bit(shapes):
    states = []
    for _ in range(2):
        model = tiny(seed=5)
        optimizer = tm.SGD(model.parameters(), lr=0.02, momentum=0.9)
        for step in range(3):
            total(model(*shapes, rng=np.random.default_rng(step))).backward()
            optimizer.step()
            optimizer.zero_grad()
        states.append(model.state_dict())
    for name, array in states[0].items():
        np.testing.assert_array_equal(array, states[1][name], err_msg=name)


def test_a_few_steps_on_one_image_bring_the_loss_down(shapes):
    model = tiny(seed=1)
    optimizer = tm.SGD(model.parameters(), lr=0.02, momentum=0.9)
    history = []
    for step in range(25):
        loss = total(model(*shapes, rng=np.random.default_rng(step)))
        history.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert np.mean(history[-5:]) < 0.7 * history[0]


def test_names_and_counts_are_torchvisions():
    model = tm.maskrcnn_resnet50_fpn()
    state = model.state_dict()
    assert len(state) == 307
    assert sum(parameter.size for parameter in model.parameters()) == 44_401_393
    for name, shape in {
        "backbone.body.layer1.0.downsample.1.running_var": (256,),
        "backbone.fpn.inner_blocks.3.0.weight": (256, 2048, 1, 1),
        "backbone.fpn.layer_blocks.0.0.bias": (256,),
        "rpn.head.conv.0.0.weight": (256, 256, 3, 3),
        "rpn.head.bbox_pred.weight": (12, 256, 1, 1),
        "roi_heads.box_head.fc6.weight": (1024, 12544),
        "roi_heads.box_predictor.bbox_pred.weight": (364, 1024),
        "roi_heads.mask_head.3.0.bias": (256,),
        "roi_heads.mask_predictor.conv5_mask.weight": (256, 256, 2, 2),
        "roi_heads.mask_predictor.mask_fcn_logits.weight": (91, 256, 1, 1),
    }.items():
        assert state[name].shape == shape
    state = tm.maskrcnn_resnet50_fpn_v2().state_dict()
    assert len(state) == 432 - 69  # without the counts of batches
    assert state["roi_heads.box_head.5.weight"].shape == (1024, 12544)
    assert state["rpn.head.conv.1.0.bias"].shape == (256,)
    assert "backbone.fpn.layer_blocks.2.1.running_mean" in state


def test_config_makes_the_same_architecture():
    model = tiny(num_classes=3, in_channels=1, widths=(8, 8, 16, 16), seed=4)
    again = build(json.loads(json.dumps(model.config)))
    again.load_state_dict(model.state_dict())
    image = np.random.default_rng(0).random((1, 50, 64), np.float32)
    one, other = (m.eval()([image])[0] for m in (model, again))
    np.testing.assert_array_equal(one["boxes"], other["boxes"])
    assert model.config["builder"] in BUILDERS


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"num_classes": 1}, "num_classes"),
        ({"in_channels": 0}, "in_channels"),
        ({"norm": "layer"}, "'layer'"),
        ({"trainable_backbone_layers": 6}, "trainable_backbone_layers"),
        ({"min_sise": 3}, "'min_sise'"),
        ({"min_size": "large"}, "min_size"),
        ({"box_score_thresh": (0.1, 0.2)}, "box_score_thresh"),
        ({"rpn_nms_thresh": float("nan")}, "rpn_nms_thresh"),
    ],
)
def test_impossible_settings_are_named(settings, said):
    with pytest.raises(tm.InputError, match=said):
        tm.maskrcnn_resnet18_fpn(**settings)


def test_frozen_layers_get_no_gradient():
    model = tm.maskrcnn_resnet18_fpn(num_classes=2, trainable_backbone_layers=2)
    trained = {n.split(".")[1] for n, p in model.backbone.named_parameters() if p.requires_grad}
    assert {"layer4", "layer3", "inner_blocks"} <= trained
    assert not trained & {"conv1", "layer1", "layer2"}


def test_unknown_builder_is_named():
    with pytest.raises(tm.InputError, match="maskrcnn_large"):
        build({"builder": "maskrcnn_large", "num_classes": 2})
