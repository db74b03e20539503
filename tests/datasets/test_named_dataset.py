"""A sequence of (image, target) with names, whose images and targets are checked."""

import numpy as np
import pytest

from tests.training.stub import stub_images
from tinymaskrcnn.datasets.named_dataset import NamedDataset
from tinymaskrcnn.errors import InputError


def test_a_plain_sequence_gets_names():
    plain = NamedDataset(stub_images(2), class_count=2)
    assert plain.classes == ["1", "2"]
    assert plain.describe(1) == "sample 1"
    assert len(plain) == 2 and plain[0][0].shape == (3, 16, 16)


def spoilt(index, **changes):
    images = stub_images(3)
    image, target = images[index]
    images[index] = (changes.pop("image", image), {**target, **changes})
    return NamedDataset(images, class_count=2)


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
def test_an_image_that_cannot_be_used_is_named(changes, message):
    images = spoilt(1, **changes)
    assert images[0][0].shape == (3, 16, 16)
    with pytest.raises(InputError, match=f"sample 1: .*{message}"):
        images[1]


def test_a_data_set_keeps_its_own_names():
    class Own(list):
        classes = ("cat",)

        def describe(self, index):
            return f"cat-{index}.png"

    own = NamedDataset(Own(stub_images(2)), class_count=1)
    assert own.classes == ["cat"]
    assert own.describe(1) == "cat-1.png"
