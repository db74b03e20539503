from itertools import islice

import numpy as np
import pytest

from tinymaskrcnn.datasets.augment import Augmentation
from tinymaskrcnn.datasets.kept import KeptImages
from tinymaskrcnn.datasets.loader import Loader
from tinymaskrcnn.datasets.named_dataset import NamedDataset
from tinymaskrcnn.models.transform import Transform, TransformConfig

from .test_augment import assert_equal_pairs, example

WHOLE = TransformConfig(min_size=24, max_size=24)


class Bytes:
    """Images of 8 bits, as files hold them; every third one is grey. `read` counts."""

    classes = ("a", "b", "c")

    def __init__(self, size=(60, 80)):
        self.size, self.read = size, 0

    def __len__(self):
        return 7

    def __getitem__(self, index):
        self.read += 1
        image, target = example(*self.size, 1 + index % 4, seed=index)
        noise = np.random.default_rng(index).integers(0, 256, image.shape)
        noise = noise if index % 3 else noise[:1].repeat(3, 0)
        return (noise / np.float32(255)).astype(np.float32), target


def kept(config=WHOLE, margin=1.0, crops=False, memory=2.0**30, size=(60, 80)):
    return KeptImages(NamedDataset(Bytes(size), 3), config, margin, crops, memory)


@pytest.mark.parametrize("index", [0, 1])
def test_what_the_model_does_not_shrink_is_kept_exactly(index):
    images = kept(TransformConfig(scale=2.0))
    image, target = images[index]
    assert image.dtype == np.uint8
    expected = images.dataset[index]
    assert_equal_pairs((image / np.float32(255), target), expected)


@pytest.mark.parametrize("config", [WHOLE, TransformConfig(scale=0.4)])
def test_the_model_sees_what_it_would_have_seen(config):
    """Up to the rounding to 8 bits: for the size and for the scale, for images and for targets."""
    images, transform = kept(config), Transform(config)
    for index in range(3):
        image, target = images[index]
        ours, (our_target,) = transform([image / np.float32(255)], [target])
        theirs, (their_target,) = transform(*([part] for part in images.dataset[index]))
        step = 1 / 255 / min(config.image_std)
        np.testing.assert_allclose(ours.tensor, theirs.tensor, atol=0.51 * step)
        np.testing.assert_array_equal(our_target["masks"], their_target["masks"])
        np.testing.assert_allclose(our_target["boxes"], their_target["boxes"], rtol=1e-5)


def test_images_are_read_once_and_a_grey_one_is_kept_as_one_channel():
    images = kept()
    for _ in range(3):
        for index in range(len(images)):
            images[index]
    assert images.dataset.samples.read == len(images)
    assert images[0][0].shape == (3, 18, 24)
    assert images[0][0].strides[0] == 0 != images[1][0].strides[0]


def test_memory_is_bounded_and_changes_nothing(caplog):
    caplog.set_level("INFO")
    free, tight, none = kept(), kept(memory=4000), kept(memory=0)
    batches = [
        [
            image.sum()
            for batch in islice(Loader(images, 3, 0, Augmentation()), 8)
            for image in batch[1]
        ]
        for images in (free, tight, none)
    ]
    assert batches[0] == batches[1] == batches[2]
    assert 0 < tight.used <= 4000 < free.used
    assert none.used == 0
    assert caplog.text.count("kept in memory") == 2
    assert free.dataset.samples.read < tight.dataset.samples.read < none.dataset.samples.read


@pytest.mark.parametrize(
    ("config", "margin", "crops", "size"),
    [
        (WHOLE, 1.0, False, (18, 24)),
        (WHOLE, 1.5, False, (27, 36)),  # for augmentations that enlarge parts
        (WHOLE, 9.0, False, (60, 80)),  # never larger than it is
        (WHOLE, 1.0, True, (60, 80)),  # crops are then resized to the model's size
        (TransformConfig(min_size=(12, 48), max_size=99), 1.0, False, (48, 64)),  # the largest
        (TransformConfig(scale=0.5), 1.0, True, (30, 40)),
        (TransformConfig(scale=2.0), 1.0, True, (60, 80)),
    ],
)
def test_sizes_that_are_kept(config, margin, crops, size):
    assert kept(config, margin, crops).size_to_keep((60, 80)) == size


def test_crops_of_shrunk_images_are_in_pixels_of_the_original():
    images = kept(TransformConfig(scale=0.5), crops=True)
    image, target = Augmentation(crop_size=40)(*images[1], np.random.default_rng(0))
    assert image.shape == (3, 20, 20)
    assert image.dtype == np.float32
    assert target["scale"] == 0.5
