"""Reading picture files into arrays.

JPEG, PNG, WebP, BMP, TIFF, GIF (its first frame) and PPM. Pictures are turned as their EXIF
orientation says, transparency is laid over white, and 16-bit or float grey is stretched so that the
picture's own darkest value is 0 and its brightest 1, because such files rarely fill their range.
Colour profiles are ignored; colour with 16 bits per channel is read with 8.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import InputError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"}
MAX_PIXELS = 64_000_000
BYTES_PER_PIXEL = 16  # 3 float32 and the decoded bytes
WIDE_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_pillow_limit = threading.Lock()


def read_image(path: str | Path, channels: int = 3, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The picture in a file as float32 (channels, H, W) in 0..1; RGB, or grey with `channels=1`.

    Raises InputError, naming the file and the reason, for a file that is missing, empty, truncated,
    of another kind, larger than `max_pixels`, or that holds values that are not finite.
    """
    if channels not in (1, 3):
        raise InputError(f"channels {channels}: a picture is read as grey (1) or RGB (3)")
    path = Path(path)
    check_file(path)
    try:
        with open_lazily(path) as image:
            check_size(path, image.size, max_pixels)
            return to_array(ImageOps.exif_transpose(image), channels)
    except InputError:
        raise
    except UnidentifiedImageError:
        raise InputError(f"{path}: not a picture of a known kind ({', '.join(FORMATS)})") from None
    except Exception as error:  # decoders of damaged data raise anything, so that any is the file's
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: cannot read the picture: {reason}") from error


def check_file(path: Path) -> None:
    """Refuse what is not a file with something in it."""
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if not path.is_file():
        raise InputError(f"{path}: not a file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty")


def check_size(path: Path | str, size: tuple[int, int], max_pixels: int) -> None:
    """Refuse a picture that is too large, before any of it is decoded."""
    width, height = size
    if width * height > max_pixels:
        raise InputError(
            f"{path}: {width} x {height} = {width * height} pixels, more than the limit of "
            f"{max_pixels}; allow it with max_pixels={width * height} "
            f"(about {width * height * BYTES_PER_PIXEL / 2**30:.1f} GiB of memory)"
        )


@contextmanager
def open_lazily(path: Path) -> Iterator[Image.Image]:
    """Open a picture, its header only, with Pillow's own size limit out of the way of ours."""
    with _pillow_limit:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = Image.open(path, formats=FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    with image:
        yield image


def to_array(image: Image.Image, channels: int) -> np.ndarray:
    """A Pillow image of any mode as float32 (channels, H, W) in 0..1."""
    if image.mode in WIDE_MODES:
        grey = stretch(np.asarray(image).astype(np.float64))
        return np.repeat(grey[None], channels, axis=0)
    image = over_white(image).convert("RGB" if channels == 3 else "L")
    pixels = np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)  # (H, W, C) -> (C, H, W)
    array = np.empty(pixels.shape, np.float32)
    return np.divide(pixels, np.float32(255), out=array)


def stretch(values: np.ndarray) -> np.ndarray:
    """Values of any range as float32 in 0..1; a picture of one value only becomes 0."""
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are not finite")
    low, high = values.min(), values.max()
    return ((values - low) / max(high - low, np.finfo(float).tiny)).astype(np.float32)


def over_white(image: Image.Image) -> Image.Image:
    """The picture without transparency."""
    if not {"A", "a"} & set(image.getbands()) and "transparency" not in image.info:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
