import numpy as np
import pytest
from PIL import Image

from tinymaskrcnn.datasets import read_image
from tinymaskrcnn.datasets.images import read_compact
from tinymaskrcnn.datasets.stretch import Stretch
from tinymaskrcnn.errors import InputError


def grey(levels, channels=3):
    """An image (channels, H, W) of 8-bit levels (H, W)."""
    return np.repeat(np.float32(levels)[None] / np.float32(255), channels, 0)


def dark(seed=0, top=40, size=(30, 40)):
    return np.random.default_rng(seed).integers(5, top, size)


# by hand


@pytest.mark.parametrize("channels", [1, 3])
def test_a_dark_image_is_stretched_by_its_percentiles(channels):
    levels = np.arange(101).reshape(1, 101)  # the p-th percentile is p
    ours = Stretch("auto")(grey(levels, channels))
    expected = np.clip((levels - 1) / 98.8, 0, 1)
    np.testing.assert_allclose(ours, grey(255 * expected, channels), atol=1e-6)
    ours = Stretch((10, 90))(grey(levels, channels))
    np.testing.assert_allclose(ours[0], np.clip((levels - 10) / 80, 0, 1), atol=1e-6)


@pytest.mark.parametrize(
    "image",
    [
        grey(dark(top=200)),  # it uses its range
        grey(np.full((9, 9), 30)),  # constant
        grey(dark(top=8)),  # noise
        grey([[7]]),  # a single pixel
        np.concatenate([grey(dark(k), 1) for k in range(3)]),  # colour
    ],
    ids=["bright", "constant", "noise", "one pixel", "colour"],
)
def test_what_the_rule_leaves_alone(image):
    assert Stretch("auto")(image) is image


@pytest.mark.parametrize("image", [grey(np.full((9, 9), 30)), grey([[7]])])
def test_what_has_no_range_is_never_stretched(image):
    assert Stretch((1, 99))(image) is image


def test_off_is_off():
    image = grey(dark())
    assert Stretch()(image) is Stretch("off")(image) is image


def test_two_pixels():
    np.testing.assert_allclose(Stretch("auto")(grey([[0, 50]]))[0], [[0, 1]], atol=1e-6)


def test_given_percentiles_stretch_colour_alike_in_all_channels():
    image = np.concatenate([grey(dark(0, 40), 1), grey(dark(1, 120), 1), grey(dark(2, 200), 1)])
    low, high = np.percentile(image, (2, 98))
    np.testing.assert_allclose(
        Stretch((2, 98))(image), np.clip((image - low) / (high - low), 0, 1), atol=1e-5
    )


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_one_hot_pixel_does_not_darken_an_image_of_16_bits_or_float(tmp_path, dtype):
    values = np.random.default_rng(0).integers(1000, 2000, (50, 60)).astype(dtype)
    values[3, 4] = 60000
    path = tmp_path / "hot.tif"
    Image.fromarray(values).save(path)
    image = read_image(path)
    assert np.median(image) < 0.02
    assert 0.4 < np.median(Stretch("auto")(image)) < 0.6


def test_the_log_has_one_line(caplog):
    caplog.set_level("INFO")
    stretch = Stretch("auto")
    for name in ("bright.png", "first.png", "second.png"):
        stretch(grey(dark(top=250 if "bright" in name else 40)), name)
    (line,) = caplog.messages
    assert line.startswith("first.png and others like it are stretched")


# edges


@pytest.mark.parametrize("how", ["some", (1,), (99, 1), (1, 101), (1, 2, 3), 5, (5, 5), None])
def test_what_is_no_stretch_is_refused(how):
    with pytest.raises(InputError, match="stretch: expected auto, off, or two percentiles"):
        Stretch(how)


@pytest.mark.parametrize("how", ["off", "auto", (5, 90)])
@pytest.mark.parametrize("mode", ["L", "RGB", "grey RGB", "16-bit"])
def test_an_image_is_stretched_like_its_array(tmp_path, mode, how):
    rng = np.random.default_rng(0)
    levels = rng.integers(5, 60, (30, 40))
    pixels = {
        "L": levels.astype(np.uint8),
        "RGB": rng.integers(5, 60, (30, 40, 3)).astype(np.uint8),
        "grey RGB": np.repeat(levels[..., None], 3, 2).astype(np.uint8),
        "16-bit": np.where(levels == 7, 60000, levels * 100).astype(np.uint16),
    }[mode]
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    ours = np.asarray(Stretch(how).compact(read_compact(path)))
    theirs = Stretch(how)(read_image(path))
    np.testing.assert_allclose(ours, theirs, atol=0.51 / 255 if mode == "RGB" else 1e-5)
