"""models/pretrained.py: which model a file of weights belongs to."""

import json
from pathlib import Path

import numpy as np
import pytest

import tinymaskrcnn as tm
from tinymaskrcnn.errors import InputError
from tinymaskrcnn.models.builders import BUILDERS, maskrcnn_tiny
from tinymaskrcnn.models.pretrained import describe_weights, load_model
from tinymaskrcnn.weights import save_weights

FROM_TORCHVISION = sorted(set(BUILDERS) - {"maskrcnn_tiny"})


def bare(path: Path, state) -> Path:
    """A file without metadata, as torchvision's are."""
    save_weights(path, state)
    return path


def test_a_shipped_model_by_its_name():
    model = tm.load_model("shapes")
    assert isinstance(model, tm.MaskRCNN) and not model.training
    assert model.classes == ["square", "circle", "triangle"]


def test_a_model_from_a_file_with_another_setting(tmp_path):
    source = maskrcnn_tiny(num_classes=3, seed=1)
    path = tmp_path / "a.safetensors"
    metadata = {"config": json.dumps(source.config), "classes": '["cat", "dog"]'}
    save_weights(path, source.state_dict(), metadata)
    model = tm.load_model(path, box_score_thresh=0.25)
    assert model.classes == ["cat", "dog"]
    assert model.config == source.config | {"box_score_thresh": 0.25}
    for name, array in source.state_dict().items():
        np.testing.assert_array_equal(model.state_dict()[name], array)


def test_the_scale_and_the_object_sizes_are_in_the_file(tmp_path):
    source = maskrcnn_tiny(num_classes=2, scale=0.75, object_sizes=(4.0, 9.5, 30))
    path = tmp_path / "a.safetensors"
    save_weights(path, source.state_dict(), {"config": json.dumps(source.config)})
    config = tm.load_model(path).transform.config
    assert config.scale == 0.75 and config.object_sizes == (4.0, 9.5, 30)
    assert tm.load_model(path, max_size=64).transform.config.scale is None


def test_settings_that_vgg_once_ignored_are_ignored_in_its_files(tmp_path):
    config = {"builder": "maskrcnn_vgg16_fpn", "num_classes": 2, "norm": "batch", "norm_eps": 1e-3}
    path = tmp_path / "a.safetensors"
    save_weights(path, {"w": np.ones(1)}, {"config": json.dumps(config), "classes": '["cat"]'})
    described, _ = describe_weights(path, {})
    assert described == {"builder": "maskrcnn_vgg16_fpn", "num_classes": 2}


def test_what_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"shape: no such weights; expected a file, or .*shapes"):
        tm.load_model("shape")
    with pytest.raises(InputError, match="shapes: no such weights"):
        tm.load_model(Path("shapes"))  # a path is a path


def test_a_setting_that_the_model_lacks_is_named():
    with pytest.raises(InputError, match="box_score"):
        tm.load_model("shapes", box_score=0.5)


@pytest.mark.parametrize("builder", FROM_TORCHVISION)
def test_torchvisions_models_are_recognised(builder, tmp_path):
    state = BUILDERS[builder](num_classes=3).state_dict()
    config, classes = describe_weights(bare(tmp_path / "a", {"w": np.ones(1)}), state)
    assert config == {"builder": builder, "num_classes": 3}
    assert classes == ["class 1", "class 2"]


def test_norms_that_counted_batches_are_trained_ones(tmp_path):
    """torchvision builds such a model where it is given no weights."""
    model = BUILDERS["maskrcnn_resnet18_fpn"](num_classes=91, norm="batch", seed=3)
    counts = {"backbone.body.bn1.num_batches_tracked": np.int64(7)}
    path = bare(tmp_path / "a", model.state_dict() | counts)
    loaded = load_model(str(path))
    assert loaded.config["norm"] == "batch"
    assert loaded.backbone.body.bn1.eps == 1e-5
    assert loaded.classes[0] == "person" and len(loaded.classes) == 90


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({"conv1.weight": np.ones(1)}, "not a Mask R-CNN"),
        (maskrcnn_tiny(num_classes=2).state_dict(), r"stages of \(1, 1, 1, 1\) blocks"),
    ],
)
def test_other_files_are_refused(state, reason, tmp_path):
    with pytest.raises(InputError, match=f"a.safetensors: .*{reason}"):
        load_model(str(bare(tmp_path / "a.safetensors", state)))


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"config": "{"}, "config: "),
        ({"config": "[]"}, "config is a list, expected a dict"),
        ({"config": "[" * 100_000}, "config: "),
        ({"config": '{"builder": "maskrcnn_tiny"}'}, "num_classes is 0"),
        ({"config": '{"builder": "maskrcnn_tiny", "num_classes": "two"}'}, "num_classes is 'two'"),
        ({"config": '{"builder": "maskrcnn_huge", "num_classes": 2}'}, "no model 'maskrcnn_huge'"),
        ({"classes": "7"}, "classes is a int, expected a list"),
        ({"classes": json.dumps(["a"] * 9)}, "names 9 classes, its model has 1"),
    ],
)
def test_damaged_metadata_is_named(metadata, reason, tmp_path):
    model = maskrcnn_tiny(num_classes=2)
    whole = {"config": json.dumps(model.config), "classes": '["a"]'}
    save_weights(tmp_path / "a.safetensors", model.state_dict(), whole | metadata)
    with pytest.raises(InputError, match=f"a.safetensors: .*{reason}"):
        load_model(str(tmp_path / "a.safetensors"))
