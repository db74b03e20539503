"""Names of parameters in both spellings, and the backbone's part of a checkpoint."""

import numpy as np
import pytest

from tinymaskrcnn.models.builders import maskrcnn_resnet18_fpn, maskrcnn_vgg16_fpn
from tinymaskrcnn.weights import WeightsError, backbone_state, canonical

RENAMED = {
    "backbone.fpn.inner_blocks.0.weight": "backbone.fpn.inner_blocks.0.0.weight",
    "backbone.fpn.layer_blocks.3.bias": "backbone.fpn.layer_blocks.3.0.bias",
    "rpn.head.conv.weight": "rpn.head.conv.0.0.weight",
    "roi_heads.mask_head.mask_fcn1.weight": "roi_heads.mask_head.0.0.weight",
    "roi_heads.mask_head.mask_fcn4.bias": "roi_heads.mask_head.3.0.bias",
}
KEPT = (
    "backbone.body.conv1.weight",
    "backbone.fpn.inner_blocks.0.1.running_mean",
    "rpn.head.conv.1.0.weight",
    "rpn.head.cls_logits.weight",
    "roi_heads.box_head.0.0.weight",
    "roi_heads.mask_head.0.0.weight",
    "roi_heads.mask_predictor.conv5_mask.weight",
)


def test_the_old_spelling_becomes_the_present_one():
    state = {key: np.full(1, i) for i, key in enumerate([*RENAMED, *KEPT[:4]])}
    assert canonical(state) == dict(
        zip([*RENAMED.values(), *KEPT[:4]], state.values(), strict=True)
    )


def test_the_present_spelling_stays():
    state = {key: np.zeros(1) for key in [*RENAMED.values(), *KEPT]}
    assert list(canonical(state)) == list(state)


def test_batch_counts_are_dropped_and_the_argument_is_not_changed():
    state = {"a.num_batches_tracked": np.array(3), "a.weight": np.ones(1)}
    assert list(canonical(state)) == ["a.weight"]
    assert len(state) == 2


def test_one_parameter_in_both_spellings_is_an_error():
    old, new = next(iter(RENAMED.items()))
    with pytest.raises(WeightsError, match="same parameter"):
        canonical({old: np.zeros(1), new: np.zeros(1)})


def test_a_model_loads_weights_in_the_old_spelling():
    model = maskrcnn_resnet18_fpn(num_classes=2)
    state = {key: array + 1 for key, array in model.state_dict().items()}
    old = {new: old for old, new in RENAMED.items()}
    for level in range(4):
        for part in ("weight", "bias"):
            for block in ("inner_blocks", "layer_blocks"):
                name = f"backbone.fpn.{block}.{level}"
                old[f"{name}.0.{part}"] = f"{name}.{part}"
            mask = f"roi_heads.mask_head.{level}.0.{part}"
            old[mask] = f"roi_heads.mask_head.mask_fcn{level + 1}.{part}"
    old["rpn.head.conv.0.0.bias"] = "rpn.head.conv.bias"
    model.load_state_dict({old.get(key, key): array for key, array in state.items()})
    assert sum(key in old for key in state) == 26
    for key, array in model.state_dict().items():
        np.testing.assert_array_equal(array, state[key])


@pytest.mark.parametrize(
    ("builder", "kind", "extra"),
    [
        (maskrcnn_resnet18_fpn, "resnet", ("fc.weight", "fc.bias", "bn1.num_batches_tracked")),
        (maskrcnn_vgg16_fpn, "vgg16", ("classifier.0.weight", "classifier.6.bias")),
    ],
)
def test_classification_checkpoints_load_into_the_backbone(builder, kind, extra):
    body = builder(num_classes=2).backbone.body
    state = {key: array + 1 for key, array in body.state_dict().items()}
    body.load_state_dict(backbone_state(state | {key: np.zeros(1) for key in extra}, kind))
    for key, array in body.state_dict().items():
        np.testing.assert_array_equal(array, state[key])


def test_the_backbone_of_a_detector():
    state = {"backbone.body.conv1.weight": np.ones(1), "backbone.fpn.inner_blocks.0.0.bias": 0}
    assert backbone_state(state, "resnet") == {"conv1.weight": np.ones(1)}


def test_a_state_without_the_backbone_is_an_error():
    with pytest.raises(WeightsError, match=r"features\.0\.weight is missing"):
        backbone_state({"conv1.weight": np.ones(1)}, "vgg16")
    with_norms = {"features.0.weight": np.ones(1), "features.1.running_mean": np.ones(1)}
    with pytest.raises(WeightsError, match="vgg16 with batch norms"):
        backbone_state(with_norms, "vgg16")
    with pytest.raises(WeightsError, match="no backbone 'vit'"):
        backbone_state({}, "vit")
