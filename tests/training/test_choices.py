"""What `train` chooses for the kinds of data that people bring."""

import json

import numpy as np
import pytest
from PIL import Image

import tinymaskrcnn as tm
from tinymaskrcnn.datasets import CocoDataset
from tinymaskrcnn.training import choices
from tinymaskrcnn.training.choices import Choice, Measures, choose
from tinymaskrcnn.training.recipes import as_json, named, with_settings

SMALL = named("small")


def measures(size, count, sides, images=3, seed=0):
    """Square objects, their sides drawn from a range, anywhere in images of one size."""
    rng = np.random.default_rng(seed)
    drawn = rng.uniform(*sides, images * count)
    corner = rng.uniform(0, 1, (images * count, 2)) * (np.array(size) - drawn[:, None])
    top, left = corner.T
    return Measures(
        images=np.array([size] * images),
        counts=np.full(images, count),
        sides=drawn,
        boxes=np.stack([left, top, left + drawn, top + drawn], axis=1),
        owners=np.repeat(np.arange(images), count),
    )


def chosen(found, recipe=SMALL, given=(), weights=None):
    return {name: value for name, value, _ in choose(recipe, found, set(given), weights)}


# by hand


def test_nuclei_in_small_images_are_enlarged():
    ours = chosen(measures((256, 256), 30, (8, 24)))
    assert ours["model.scale"] == 2
    assert ours["crop_size"] == 128
    assert "model.box_detections_per_img" not in ours  # 50 are enough


def found_at_most(ours, size):
    """Detections and proposals that the chosen model makes of an image of this size."""
    settings = {name.removeprefix("model."): v for name, v in ours.items() if "." in name}
    model = tm.maskrcnn_tiny(num_classes=2, **settings).eval()
    room = model.transform.room([model.transform.resized_size(size)])
    return model.roi_heads.limit(room), model.rpn.limits(room)[1]


def test_crowded_microscope_images_are_learned_from_crops():
    ours = chosen(measures((520, 696), 400, (8, 24)))
    assert ours["model.scale"] == 2
    assert ours["crop_size"] == 128
    detections, proposals = found_at_most(ours, (520, 696))
    assert 600 <= detections < proposals < 3000
    low, middle, high = ours["model.object_sizes"]
    assert 8 <= low < 10 < middle < 18 < high <= 24


def test_photos_with_few_large_objects_are_shrunk_as_ever():
    assert chosen(measures((1200, 1600), 3, (200, 500))) == {"model.stretch": "auto"}


def test_shapes_are_seen_as_ever():
    assert chosen(measures((128, 128), 4, (20, 50))) == {"model.stretch": "auto"}


def test_large_cells_in_large_images_are_shrunk_by_a_scale():
    ours = chosen(measures((2000, 2000), 60, (60, 100)))
    assert ours["model.scale"] == 0.35
    assert ours["crop_size"] == 731  # which the model sees as 256 x 256


def test_crops_are_larger_where_objects_would_hardly_fit():
    found = measures((520, 696), 50, (6, 20))
    found.sides[-60:] = 90
    assert chosen(found)["crop_size"] == 256


def test_images_that_fit_into_a_crop_stay_whole():
    found = measures((200, 240), 30, (4, 10))
    found.sides[-9:] = 90
    ours = chosen(found)
    assert ours["model.scale"] == 2
    assert "crop_size" not in ours


def test_images_that_are_enlarged_anyway_need_no_scale():
    assert "model.scale" not in chosen(measures((64, 48), 2, (3, 4)))


def test_samples_follow_the_objects_in_a_crop_not_those_in_the_image():
    crops = chosen(measures((1040, 1388), 400, (8, 24)))
    assert "model.rpn_batch_size_per_image" not in crops
    full = chosen(measures((256, 256), 200, (8, 12)), given=["crop_size"])
    assert full["model.rpn_batch_size_per_image"] == 512
    assert full["model.box_batch_size_per_image"] == 128


def test_anchors_change_only_if_too_few_boxes_are_covered():
    """The smallest default anchor is 24 pixels, of the model's input."""
    sides = (4, 8)  # 8 to 16 pixels at a scale of 2
    assert min(chosen(measures((300, 300), 40, sides))["model.anchor_sizes"]) < 16
    assert "model.anchor_sizes" not in chosen(measures((300, 300), 40, (12, 16)))


# what was asked for


@pytest.mark.parametrize(
    ("setting", "stay_away"),
    [
        ("model.scale=1.5", {"model.scale"}),
        ("crop_size=200", {"crop_size"}),
        ("crop_size=0", {"crop_size", "model.scale"}),
        ("model.min_size=512", {"crop_size", "model.scale", "model.object_sizes"}),
        ("model.box_detections_per_img=70", {"model.box_detections_per_img"}),
        ("model.anchor_sizes=5,10,20,40,80", {"model.anchor_sizes"}),
        ("model.stretch=off", {"model.stretch"}),
    ],
)
def test_what_was_given_is_not_chosen(setting, stay_away):
    recipe = with_settings(SMALL, [setting])
    ours = chosen(measures((520, 696), 400, (8, 24)), recipe, [setting.partition("=")[0]])
    assert not stay_away & ours.keys()
    applied = choices.apply(recipe, [Choice(*item) for item in ours.items()])
    assert with_settings(applied, [setting]) == applied


def test_a_scale_that_was_given_decides_the_crops():
    recipe = with_settings(SMALL, ["model.scale=1"])
    ours = chosen(measures((520, 696), 400, (8, 24)), recipe, ["model.scale"])
    assert ours["crop_size"] == 256
    assert "model.object_sizes" in ours


def test_trained_weights_keep_their_scale_anchors_and_stretch():
    weights = {"builder": "maskrcnn_tiny", "num_classes": 2, "scale": 1.0}
    ours = chosen(measures((520, 696), 400, (4, 8)), weights=weights)
    assert ours["crop_size"] == 256
    detections, proposals = found_at_most({"model.scale": 1.0, **ours}, (520, 696))
    assert 600 <= detections < 1000 and detections < proposals < 1500
    assert not {"model.scale", "model.anchor_sizes", "model.stretch"} & ours.keys()
    whole = {"builder": "maskrcnn_tiny", "num_classes": 2, "box_detections_per_img": 700}
    ours = chosen(measures((520, 696), 400, (4, 8)), weights=whole)
    assert not {"crop_size", "model.scale", "model.box_detections_per_img"} & ours.keys()


def test_weights_of_another_model_keep_everything():
    weights = {"builder": "maskrcnn_resnet18_fpn", "num_classes": 2}
    assert chosen(measures((520, 696), 400, (4, 8)), weights=weights) == {}


def test_every_choice_has_its_name_in_the_table_of_what_a_resumed_run_keeps():
    for found in (measures((256, 256), 200, (3, 12)), measures((520, 696), 400, (8, 24))):
        for recipe in (SMALL, named("cells")):
            assert set(chosen(found, recipe)) <= set(choices.NAMES)


def test_a_resumed_run_keeps_what_it_began_with():
    found = measures((520, 696), 400, (8, 24))
    applied = choices.apply(SMALL, choose(SMALL, found, set()))
    before = json.loads(json.dumps(as_json(applied)))
    assert as_json(choices.stored(SMALL, before, set())) == as_json(applied)
    given = with_settings(SMALL, ["crop_size=99"])
    assert choices.stored(given, before, {"crop_size"}).crop_size == 99
    assert choices.stored(SMALL, {"model_settings": {}}, set()) == SMALL  # of an earlier version


def test_reasons_in_words():
    lines = choices.in_words(choose(SMALL, measures((520, 696), 400, (8, 24)), set()))
    assert lines[0].startswith("half of the objects are smaller than 16 pixels")
    assert "model.scale=2.0 model.object_sizes=" in lines[0]
    lines = choices.in_words(choose(SMALL, measures((256, 256), 400, (60, 90)), set()))
    assert lines[-1].startswith("up to 400 objects per image")
    assert "model.box_detections_per_img=600 model.rpn_post_nms_top_n_test=900" in lines[-1]


def test_measures_of_a_file(tmp_path):
    Image.new("L", (40, 30)).save(tmp_path / "a.png")
    square = [2, 3, 12, 3, 12, 13, 2, 13]
    common = {"image_id": 1, "category_id": 1, "area": 100, "segmentation": [square]}
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 30}],
        "annotations": [
            {"id": 1, "bbox": [2, 3, 10, 10], "iscrowd": 0, **common},
            {"id": 2, "bbox": [2, 3, 10, 10], "iscrowd": 1, **common},
        ],
        "categories": [{"id": 1, "name": "square"}],
    }
    (tmp_path / "set.json").write_text(json.dumps(content))
    found = choices.measure(CocoDataset(tmp_path / "set.json"))
    assert found.images.tolist() == [[30, 40]]
    assert found.counts.tolist() == [1]  # a crowd is not an object
    assert found.sides.tolist() == [10]
    assert found.boxes.tolist() == [[2, 3, 12, 13]]
