import logging
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from tinymaskrcnn.datasets import images, read_image
from tinymaskrcnn.datasets.images import image_size, orientation_of, page_count, unread
from tinymaskrcnn.errors import InputError

RGB = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[0, 0, 0], [128, 64, 32], [9, 9, 9]]])


@pytest.fixture
def rgb():
    """An image of 2 rows and 3 columns."""
    return Image.fromarray(RGB.astype(np.uint8))


def expected(pixels):
    return (np.asarray(pixels, np.float32) / 255).transpose(2, 0, 1)


# by hand


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.ppm", "a.gif"])
def test_lossless_formats_give_the_pixels(tmp_path, rgb, name):
    rgb.save(tmp_path / name)
    image = read_image(tmp_path / name)
    assert image.dtype == np.float32
    assert image.flags.c_contiguous
    np.testing.assert_array_equal(image, expected(RGB))


def test_lossless_webp(tmp_path, rgb):
    rgb.save(tmp_path / "a.webp", lossless=True)
    np.testing.assert_array_equal(read_image(str(tmp_path / "a.webp")), expected(RGB))


def test_jpeg_is_close(tmp_path):
    Image.new("RGB", (16, 8), (200, 100, 50)).save(tmp_path / "a.jpg", quality=95)
    image = read_image(tmp_path / "a.jpg")
    np.testing.assert_allclose(image[:, 4, 4], np.array([200, 100, 50]) / 255, atol=0.02)
    assert image.shape == (3, 8, 16)


def test_only_the_first_frame_of_a_gif(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read_image(tmp_path / "a.gif")[:, 0, 0], [1, 0, 0])


@pytest.mark.parametrize(
    ("orientation", "pixels"),
    [(3, RGB[::-1, ::-1]), (6, RGB[::-1].transpose(1, 0, 2)), (8, RGB[:, ::-1].transpose(1, 0, 2))],
)
def test_exif_orientation_is_done(tmp_path, rgb, orientation, pixels):
    exif = Image.Exif()
    exif[0x0112] = orientation
    rgb.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), expected(pixels))


def test_damaged_exif_does_not_cost_the_image(tmp_path, rgb, caplog):
    rgb.save(tmp_path / "a.png", exif=b"Exif\0\0no such thing")
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(read_image(tmp_path / "a.png"), expected(RGB))
    assert caplog.messages == [f"{tmp_path / 'a.png'}: its EXIF data is damaged; taken as upright"]
    assert image_size(tmp_path / "a.png") == (2, 3)


def test_the_first_image_of_a_stereo_jpeg(tmp_path):
    frames = [Image.new("RGB", (16, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.mpo", save_all=True, append_images=frames[1:])
    (tmp_path / "a.mpo").rename(tmp_path / "a.jpg")
    image = read_image(tmp_path / "a.jpg")
    np.testing.assert_allclose(image[:, 4, 4], [1, 0, 0], atol=0.02)


def test_transparency_is_laid_over_white(tmp_path):
    Image.fromarray(np.uint8([[[255, 0, 0, 0], [0, 0, 0, 51]]])).save(tmp_path / "a.png")
    np.testing.assert_allclose(
        read_image(tmp_path / "a.png"), [[[1, 0.8]], [[1, 0.8]], [[1, 0.8]]], atol=1e-6
    )


def test_a_transparent_palette_entry_is_white(tmp_path):
    image = Image.fromarray(np.uint8([[0, 1]])).convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.save(tmp_path / "a.png", transparency=0)
    np.testing.assert_array_equal(
        read_image(tmp_path / "a.png"), expected([[[255, 255, 255], [40, 50, 60]]])
    )


@pytest.mark.parametrize("name", ["a.tif", "a.jpg"])
def test_cmyk(tmp_path, name):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / name)
    np.testing.assert_allclose(read_image(tmp_path / name)[:, 0, 0], [1, 0, 0], atol=0.02)


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_grey_becomes_rgb_or_stays_grey(tmp_path, mode):
    Image.new(mode, (5, 4), (255, 255) if mode == "LA" else 255).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.ones((3, 4, 5)))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", channels=1), np.ones((1, 4, 5)))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("a.png", np.uint16([[100, 200], [300, 1100]])),
        ("a.tif", np.uint16([[100, 200], [300, 1100]])),
        ("a.tif", np.float32([[-3, -2.7], [-2.4, 0]])),
        ("a.tif", np.int32([[-100, 0], [100, 900]])),
    ],
)
def test_wide_grey_is_stretched_to_its_own_range(tmp_path, name, values):
    Image.fromarray(values).save(tmp_path / name)
    image = read_image(tmp_path / name)
    assert image.dtype == np.float32
    np.testing.assert_allclose(image, np.float32([[[0, 0.1], [0.2, 1]]] * 3), atol=1e-6)


def test_one_value_only_in_wide_grey_is_black(tmp_path):
    Image.fromarray(np.full((2, 2), 7, np.uint16)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.zeros((3, 2, 2)))


def test_a_transparent_value_of_wide_grey_is_white_and_no_part_of_the_range(tmp_path):
    values = np.uint16([[100, 200], [300, 60000]])
    Image.fromarray(values).save(tmp_path / "a.png", transparency=60000)
    np.testing.assert_allclose(
        read_image(tmp_path / "a.png", channels=1), [[[0, 0.5], [1, 1]]], atol=1e-6
    )


def test_small_differences_of_large_values_are_kept(tmp_path):
    values = np.int32([[2**30, 2**30 + 5], [2**30 + 10, 2**30 + 20]])
    Image.fromarray(values).save(tmp_path / "a.tif")
    np.testing.assert_allclose(read_image(tmp_path / "a.tif")[0], [[0, 0.25], [0.5, 1]], atol=1e-6)


COLOURS = ("red", "lime", "blue")


def pages(path, **settings):
    """A file with three pages or frames, and what `read_image` should make of each."""
    frames = [Image.new("RGB", (4, 5), colour) for colour in COLOURS]
    frames[0].save(path, save_all=True, append_images=frames[1:], **settings)
    return path, np.eye(3)


@pytest.mark.parametrize("name", ["a.tif", "a.gif", "a.png", "a.webp"])
def test_every_page_can_be_read(tmp_path, name):
    path, colours = pages(tmp_path / name, **({"lossless": True} if name == "a.webp" else {}))
    assert page_count(path) == 3
    for number, colour in enumerate(colours, start=1):
        np.testing.assert_array_equal(read_image(path, page=number)[:, 2, 2], colour)
    for number in (0, 4):
        with pytest.raises(InputError, match=rf"{name}: page {number}: the file has 3 page\(s\)"):
            read_image(path, page=number)
    assert unread(path) == [(images.PAGES, "3 pages")]
    assert unread(path, page=2) == []


def test_an_image_of_one_page_has_no_second(tmp_path, rgb):
    rgb.save(tmp_path / "a.png")
    assert page_count(tmp_path / "a.png") == 1 and page_count(tmp_path / "none.png") == 1
    with pytest.raises(InputError, match=r"a\.png: page 2: the file has 1 page\(s\)"):
        read_image(tmp_path / "a.png", page=2)


def test_a_damaged_later_page_costs_only_itself(tmp_path):
    path, _ = pages(tmp_path / "a.gif")
    path.write_bytes(path.read_bytes()[:-20])
    np.testing.assert_array_equal(read_image(path)[:, 2, 2], [1, 0, 0])
    unread(path)


def tiff(path, bands, extra, photometric=2):
    """An uncompressed TIFF (2, 3) of 8-bit bands, the last `extra` of them of these kinds."""
    values = np.arange(6 * bands, dtype=np.uint8).tobytes()
    count = len(extra)
    tags = [
        (256, 4, 1, 3),
        (257, 4, 1, 2),
        (259, 3, 1, 1),
        (262, 3, 1, photometric),
        (273, 4, 1, 8),
        (277, 3, 1, bands),
        (278, 4, 1, 2),
        (279, 4, 1, len(values)),
    ]
    bits = 8 + len(values)
    extras = bits + 2 * bands
    tags.insert(2, (258, 3, bands, bits if bands > 2 else 8 + (8 << 16) * (bands > 1)))
    value = extras if count > 2 else sum(kind << (16 * i) for i, kind in enumerate(extra))
    tags += [(338, 3, count, value)] * bool(count)
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *t) for t in tags)
    tail = struct.pack(f"<{bands}H", *[8] * bands) + struct.pack(f"<{count}H", *extra)
    offset = bits + len(tail)
    head = struct.pack("<2sHI", b"II", 42, offset)
    path.write_bytes(head + values + tail + directory + struct.pack("<I", 0))
    return path


@pytest.mark.parametrize(
    ("bands", "extra", "photometric", "more"),
    [
        (3, (), 2, 0),
        (5, (0, 0), 2, 2),
        (4, (0,), 2, 1),
        (5, (2, 0), 2, 1),
        (2, (0,), 1, 1),
        (4, (), 5, 0),
        (5, (0,), 5, 1),
    ],
)
def test_bands_that_are_no_colours_are_named(tmp_path, bands, extra, photometric, more):
    path = tiff(tmp_path / "a.tif", bands, extra, photometric)
    read_image(path)
    found = dict(unread(path))
    assert found.get(images.BANDS) == (f"{more} more" if more else None)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_alpha_that_is_not_opaque_is_named(tmp_path, mode, name):
    image = Image.new(mode, (4, 3), (10,) * (len(mode) - 1) + (255,))
    image.save(tmp_path / name)
    assert unread(tmp_path / name) == []
    image.putpixel((2, 1), (10,) * (len(mode) - 1) + (70,))
    image.save(tmp_path / name)
    assert unread(tmp_path / name) == [(images.ALPHA, "alpha 70 to 255")]


def test_a_png_is_not_decoded_to_find_no_orientation(tmp_path, rgb):
    rgb.save(tmp_path / "a.png")
    assert orientation_of(tmp_path / "a.png") == 1
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[:50])
    assert image_size(tmp_path / "cut.png") == (2, 3)


# laws


@pytest.mark.parametrize("kind", ["RGB", "RGBA", "P", "L", "I;16", "F"])
def test_strips_make_no_difference(tmp_path, monkeypatch, kind):
    pixels = np.random.default_rng(0).integers(0, 255, (23, 7, 4), np.uint8)
    wide = {"I;16": pixels[..., 0].astype(np.uint16) * 9, "F": pixels[..., 0] / np.float32(7)}
    image = Image.fromarray(wide.get(kind, pixels))
    path = tmp_path / "a.tif"
    (image if kind in wide else image.convert(kind)).save(path)
    whole = read_image(path)
    monkeypatch.setattr(images, "STRIP_PIXELS", 30)
    np.testing.assert_array_equal(read_image(path), whole)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_png_round_trip(tmp_path_factory, height, width, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    path = tmp_path_factory.mktemp("round") / "a.png"
    Image.fromarray(pixels).save(path)
    np.testing.assert_array_equal(read_image(path), expected(pixels))


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(["png", "jpeg", "gif", "tiff", "bmp", "webp"]), st.data())
def test_damaged_files_are_read_or_refused_in_one_line(tmp_path_factory, kind, data):
    path = tmp_path_factory.mktemp("damaged") / f"a.{kind}"
    Image.fromarray(np.arange(768, dtype=np.uint8).reshape(16, 16, 3)).save(path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        image = read_image(path)
    except InputError as error:
        assert str(path) in str(error)
        assert "\n" not in str(error)
    else:
        assert image.shape[0] == 3
        assert np.isfinite(image).all()


# outside oracle


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp"])
def test_all_orientations_are_pillows(tmp_path, name, orientation):
    pixels = np.random.default_rng(1).integers(0, 255, (4, 6, 3), np.uint8).repeat(8, 0)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels.repeat(8, 1)).save(tmp_path / name, exif=exif)
    with Image.open(tmp_path / name) as image:
        image.load()
        upright = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    np.testing.assert_array_equal(read_image(tmp_path / name), expected(upright))
    assert image_size(tmp_path / name) == upright.shape[:2]


# edges


def test_very_wide_and_very_high(tmp_path):
    for size in ((60000, 2), (1, 60000)):
        Image.new("L", size, 255).save(tmp_path / "a.png")
        assert read_image(tmp_path / "a.png").shape == (3, *size[::-1])
        assert image_size(tmp_path / "a.png") == size[::-1]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's own figures")
def test_memory_is_bounded_by_the_image_and_the_result(tmp_path):
    side = 4000
    Image.new("RGB", (side, side), "red").save(tmp_path / "a.png", exif=turned(6))
    program = (
        "import sys\n"
        "from tinymaskrcnn.datasets import read_image\n"
        "def peak():\n"
        "    text = open('/proc/self/status').read()\n"
        "    return int(text.split('VmHWM:')[1].split()[0]) * 1024\n"
        "before = peak()\n"
        "read_image(sys.argv[1])\n"
        "print(peak() - before)\n"
    )
    call = [sys.executable, "-c", program, str(tmp_path / "a.png")]
    answer = subprocess.run(
        call, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert side**2 * 12 <= int(answer.stdout) <= side**2 * 18


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def test_one_pixel_high(tmp_path):
    Image.new("RGB", (3000, 1)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").shape == (3, 1, 3000)


def bad_files(folder):
    """Files that are not images, and the error for each."""
    whole = folder / "whole.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 50, 3), np.uint8)).save(whole)
    (folder / "empty.png").touch()
    (folder / "cut.png").write_bytes(whole.read_bytes()[:3000])
    (folder / "text.png").write_text("not an image")
    Image.fromarray(np.float32([[0, np.nan]])).save(folder / "nan.tif")
    for kind in ("jpg", "bmp", "tif", "gif", "webp"):
        Image.open(whole).save(folder / f"cut.{kind}")
        content = (folder / f"cut.{kind}").read_bytes()
        (folder / f"cut.{kind}").write_bytes(content[: len(content) // 2])
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic")
    return {
        **{f"cut.{kind}": "cannot read" for kind in ("jpg", "bmp", "tif", "gif", "webp")},
        "photo.heic": "not an image of a known kind",
        "missing.png": "no such file",
        "empty.png": "empty",
        "cut.png": "cannot read the image",
        "text.png": "not an image of a known kind",
        "nan.tif": "not finite",
        ".": "not a file",
        "loop.png": "symbolic links",
    }


def test_bad_files_are_refused_with_name_and_reason(tmp_path):
    for name, reason in bad_files(tmp_path).items():
        with pytest.raises(InputError) as caught:
            read_image(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")
        assert reason in str(caught.value)
        assert "\n" not in str(caught.value)


def test_too_many_pixels_are_refused_before_decoding(tmp_path):
    Image.new("1", (4000, 3000)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"4000 x 3000 = 12000000 pixels.*--max-pixels 12000000"):
        read_image(tmp_path / "a.png", max_pixels=1_000_000)


def test_pillows_own_limit_does_not_stand_in_the_way(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    Image.new("L", (30, 30)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").shape == (3, 30, 30)
    assert Image.MAX_IMAGE_PIXELS == 10


def test_channels_other_than_grey_and_rgb_are_refused(tmp_path):
    with pytest.raises(InputError, match="channels 4"):
        read_image(tmp_path / "a.png", channels=4)
