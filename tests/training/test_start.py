"""What training starts from."""

import numpy as np
import pytest

from tinymaskrcnn.errors import InputError
from tinymaskrcnn.nn import Linear, Module
from tinymaskrcnn.training.start import NamedDataset, load_for_fine_tuning

from .stub import stub_pictures


class Heads(Module):
    def __init__(self, classes: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.roi_heads = Module()
        self.roi_heads.box_head = Linear(4, 8, rng=rng)
        self.roi_heads.box_predictor = Module()
        self.roi_heads.box_predictor.cls_score = Linear(8, classes, rng=rng)


def test_everything_is_loaded_where_the_classes_agree():
    model, source = Heads(3, seed=0), Heads(3, seed=1)
    assert load_for_fine_tuning(model, source.state_dict(), "w") == []
    for name, array in source.state_dict().items():
        np.testing.assert_array_equal(model.state_dict()[name], array)


def test_heads_of_other_classes_stay_fresh():
    model, source = Heads(3, seed=0), Heads(5, seed=1)
    before = {name: array.copy() for name, array in model.state_dict().items()}
    fresh = load_for_fine_tuning(model, source.state_dict(), "w")
    assert fresh == [
        "roi_heads.box_predictor.cls_score.weight",
        "roi_heads.box_predictor.cls_score.bias",
    ]
    for name, array in model.state_dict().items():
        expected = before[name] if name in fresh else source.state_dict()[name]
        np.testing.assert_array_equal(array, expected)


def test_weights_of_another_model_are_refused_and_nothing_is_changed():
    model, source = Heads(3, seed=0), Heads(3, seed=1)
    state = dict(source.state_dict())
    state["roi_heads.box_head.weight"] = np.zeros((9, 9), np.float32)
    before = model.roi_heads.box_head.bias.data.copy()
    with pytest.raises(InputError, match=r"w\.pth: .*roi_heads\.box_head\.weight \(9, 9\)"):
        load_for_fine_tuning(model, state, "w.pth")
    np.testing.assert_array_equal(model.roi_heads.box_head.bias.data, before)


def test_a_plain_sequence_gets_names():
    plain = NamedDataset(stub_pictures(2), class_count=2)
    assert plain.classes == ["1", "2"]
    assert plain.describe(1) == "picture 1"
    assert len(plain) == 2 and plain[0][0].shape == (3, 16, 16)


def spoilt(index, **changes):
    pictures = stub_pictures(3)
    image, target = pictures[index]
    pictures[index] = (changes.pop("image", image), {**target, **changes})
    return NamedDataset(pictures, class_count=2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.array([3])}, "label 3, expected 1 to 2"),
        ({"labels": np.array([0])}, "label 0, expected 1 or above"),
        ({"boxes": np.array([[4, 4, 4, 8]])}, r"box \[4.0, 4.0, 4.0, 8.0\], expected x1 < x2"),
        ({"masks": np.zeros((1, 9, 9), np.uint8)}, "expected labels"),
        ({"image": np.zeros((3, 16, 16), np.uint8)}, "expected floats"),
    ],
)
def test_a_picture_that_cannot_be_used_is_named(changes, message):
    pictures = spoilt(1, **changes)
    assert pictures[0][0].shape == (3, 16, 16)
    with pytest.raises(InputError, match=f"picture 1: .*{message}"):
        pictures[1]


def test_a_data_set_keeps_its_own_names():
    class Own(list):
        classes = ("cat",)

        def describe(self, index):
            return f"cat-{index}.png"

    own = NamedDataset(Own(stub_pictures(2)), class_count=1)
    assert own.classes == ["cat"]
    assert own.describe(1) == "cat-1.png"
