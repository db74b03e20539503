"""Reading picture files into arrays.

JPEG, PNG, WebP, BMP, TIFF, GIF and PPM; of several pages or frames one. Pictures are turned as
their EXIF orientation says, transparency is laid over white, and 16-bit or float grey is stretched
so that the picture's own darkest value is 0 and its brightest 1, because such files rarely fill
their range. Colour profiles are ignored; colour with 16 bits per channel is read with 8. `unread`
tells what else a file holds.

A picture is decoded once and taken over strip by strip, so that reading needs no more memory than
the decoded picture (4 bytes a pixel) and the result (12).
"""

import io
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..errors import InputError
from ..files import file_problem

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
SUFFIXES = {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
SUFFIXES |= {".ppm", ".pgm", ".pbm", ".pnm"}
# Pictures too, but of kinds that are not read: whoever has them in a folder should hear of it.
FOREIGN_SUFFIXES = {".heic", ".heif", ".avif", ".jp2", ".jxl", ".psd", ".svg", ".dcm", ".exr"}
FOREIGN_SUFFIXES |= {".dng", ".nef", ".cr2", ".cr3", ".arw", ".orf", ".raf"}
MAX_PIXELS = 64_000_000
BYTES_PER_PIXEL = 32  # what `predict` needs to read a picture (16) and to draw on it
STRIP_PIXELS = 1 << 20
WIDE_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
ORIENTATION = 0x0112  # the EXIF tag
SAMPLES, EXTRA_SAMPLES = 277, 338  # tags of TIFF: values a pixel has, and what the last ones mean
PAGES = "files of several pages or frames, of which only the first is read"
BANDS = "files with bands beside their colours, which are not read"
ALPHA = "files with an alpha channel that is not opaque; it is read as transparency, never as data"
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SWAPPED = (5, 6, 7, 8)  # orientations that make rows of columns
_pillow_limit = threading.Lock()
logger = logging.getLogger(__name__)


def read_image(
    path: str | Path, channels: int = 3, max_pixels: int = MAX_PIXELS, page: int = 1
) -> np.ndarray:
    """The picture in a file as float32 (channels, H, W) in 0..1; RGB, or grey with `channels=1`.

    - `page`: of a TIFF, or frame of a GIF, PNG or WebP, from 1.

    Raises InputError, naming the file and the reason, for a file that is missing, empty, truncated,
    of another kind, without that page, larger than `max_pixels`, or that holds values that are not
    finite.
    """
    if channels not in (1, 3):
        raise InputError(f"channels {channels}: a picture is read as grey (1) or RGB (3)")
    with opened(path) as image:
        seek(path, image, page)
        check_size(path, image.size, max_pixels)
        image.load()
        return to_array(upright(image), channels)


def picture_size(path: str | Path, content: bytes | None = None) -> tuple[int, int]:
    """Height and width that `read_image` will give, from the file's header where it tells.

    - `content`: of the file, where there is none of that name yet.

    Raises InputError, naming the file and the reason, where the header cannot be read.
    """
    with opened(path, content) as image:
        swapped = header_orientation(image) in SWAPPED
        if image.format == "TIFF":  # Pillow itself turns these, some versions only in loading
            if swapped:
                image.load()
            swapped = False
        width, height = image.size
        return (width, height) if swapped else (height, width)


def orientation_of(path: str | Path, content: bytes | None = None) -> int:
    """The EXIF orientation of a file, by which `read_image` turns its picture; 1 is none."""
    with opened(path, content) as image:
        turn = header_orientation(image)
    return turn if turn in UPRIGHT else 1


def header_orientation(image: Image.Image) -> int:
    """As `orientation`, without decoding a PNG that has no such part."""
    parts = {"exif", "xmp", "XML:com.adobe.xmp"}
    return 1 if image.format == "PNG" and not parts & set(image.info) else orientation(image)


def page_count(path: str | Path) -> int:
    """How many pages or frames a file has; 1 where it cannot be read."""
    try:
        with opened(path) as image:
            return pages_of(image)
    except InputError:
        return 1


def unread(
    path: str | Path,
    content: bytes | None = None,
    page: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> list[tuple[str, str]]:
    """What a file holds besides the picture that `read_image` makes of it: PAGES, BANDS and ALPHA,
    each with a detail.

    - `content`: as for `picture_size`. `page`: one that was asked for, so that others are no news.

    Raises InputError, naming the file and the reason, where it cannot be read.
    """
    found = []
    with opened(path, content) as image:
        if page is None and (count := pages_of(image)) > 1:
            found.append((PAGES, f"{count} pages"))
        seek(path, image, page or 1)
        if count := extra_bands(image):
            found.append((BANDS, f"{count} more"))
        alpha = next((band for band in image.getbands() if band in "Aa"), None)
        if alpha and image.width * image.height <= max_pixels:
            channel = np.asarray(image.getchannel(alpha))
            low, high = int(channel.min()), int(channel.max())
            if low < 255:
                found.append((ALPHA, f"alpha {low} to {high}"))
    return found


def pages_of(image: Image.Image) -> int:
    """How many pages or frames an opened file has, as far as they can be counted."""
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception:  # whatever is wrong with a later one, the first is still good
        return 1


def seek(path: str | Path, image: Image.Image, page: int) -> None:
    """Go to a page of an opened file, from 1. Raises InputError where there is none."""
    if page == 1:
        return
    count = pages_of(image)
    if not 1 <= page <= count:
        raise InputError(f"{path}: page {page}: it has {count} page(s)")
    image.seek(page - 1)


def extra_bands(image: Image.Image) -> int:
    """How many values each pixel of a TIFF has that are neither colours nor alpha."""
    tags = getattr(image, "tag_v2", {})
    beyond = int(tags.get(SAMPLES, 0)) - len(image.getbands())
    return max(beyond, tuple(tags.get(EXTRA_SAMPLES, ())).count(0))


@contextmanager
def opened(path: str | Path, content: bytes | None = None) -> Iterator[Image.Image]:
    """A picture file, its header read; whatever goes wrong with it becomes an InputError."""
    path = Path(path)
    if content is None:
        check_file(path)
    try:
        with open_lazily(path if content is None else io.BytesIO(content)) as image:
            yield image
    except (InputError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise InputError(f"{path}: not a picture of a known kind ({', '.join(FORMATS)})") from None
    except Exception as error:  # decoders of damaged data raise anything, so that any is the file's
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: cannot read the picture: {reason}") from error


def check_file(path: Path) -> None:
    """Refuse what is not a file with something in it."""
    if problem := file_problem(path):
        raise InputError(f"{path}: {problem}")


def check_size(path: Path | str, size: tuple[int, int], max_pixels: int) -> None:
    """Refuse a picture that is too large, before any of it is decoded."""
    width, height = size
    pixels = width * height
    if pixels > max_pixels:
        raise InputError(
            f"{path}: {width} x {height} = {pixels} pixels, more than the limit of {max_pixels}; "
            f"allow it with --max-pixels {pixels}, in Python max_pixels={pixels} "
            f"(about {pixels * BYTES_PER_PIXEL / 2**30:.1f} GiB of memory)"
        )


@contextmanager
def open_lazily(path: Path | io.BytesIO) -> Iterator[Image.Image]:
    """Open a picture, its header only, with Pillow's own size limit out of the way of ours."""
    with _pillow_limit:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = Image.open(path, formats=FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    with image:
        yield image


def upright(image: Image.Image) -> Image.Image:
    """The picture turned as its EXIF orientation says."""
    method = UPRIGHT.get(orientation(image))
    if method is None:
        return image
    turned = image.transpose(method)
    image.close()  # gives back its memory
    return turned


def orientation(image: Image.Image) -> int:
    """The EXIF orientation; 1, upright, where there is none or the EXIF part is damaged."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # whatever a damaged tag makes of the reader, the pixels are still good
        name = getattr(image, "filename", "picture")
        logger.warning("%s: its EXIF part is damaged; taken as upright", name)
        return 1


def to_array(image: Image.Image, channels: int) -> np.ndarray:
    """A loaded Pillow image of any mode as float32 (channels, H, W) in 0..1."""
    width, height = image.size
    array = np.empty((channels, height, width), np.float32)
    if image.mode in WIDE_MODES:
        stretch(np.asarray(image), array[0], image.info.get("transparency"))
        array[1:] = array[0]
        return array
    rows = max(1, STRIP_PIXELS // width)
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        strip = over_white(strip).convert("RGB" if channels == 3 else "L")
        pixels = np.atleast_3d(np.asarray(strip)).transpose(2, 0, 1)  # (h, W, C) -> (C, h, W)
        np.divide(pixels, np.float32(255), out=array[:, top : top + rows])
    return array


def stretch(values: np.ndarray, grey: np.ndarray, transparent: int | None) -> None:
    """Values (H, W) of any range into `grey` (H, W) float32 in 0..1; one value only becomes 0.

    - `transparent`: a value that stands for "nothing here"; it becomes white.
    """
    seen = values if transparent is None else values[values != transparent]
    low, high = (float(seen.min()), float(seen.max())) if seen.size else (0.0, 0.0)
    if not np.isfinite([low, high]).all():  # of a NaN among the values, both are NaN
        raise ValueError("it holds values that are not finite")
    rows = max(1, STRIP_PIXELS // values.shape[1])
    for top in range(0, len(values), rows):  # differences in double: they may be small
        strip = values[top : top + rows].astype(np.float64) - low
        grey[top : top + rows] = strip / max(high - low, np.finfo(float).tiny)
    if transparent is not None:
        grey[values == transparent] = 1


def over_white(image: Image.Image) -> Image.Image:
    """The picture without transparency."""
    if not {"A", "a"} & set(image.getbands()) and "transparency" not in image.info:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
