"""Reading image files into arrays.

JPEG, PNG, WebP, BMP, TIFF, GIF and PPM; one page or frame of those that have several. Images are
turned upright by their EXIF orientation, and transparency is blended over white. Grey of 16 bits or
float is stretched so that the image's own darkest value becomes 0 and its brightest 1, because such
files rarely fill their range. Colour profiles are ignored; colour with 16 bits per channel is read
with 8. `unread` reports what else a file holds.

An image is decoded once and converted strip by strip, so that reading needs no more memory than the
decoded image (4 bytes per pixel) and the result (12 as an array, 1 to 4 as a CompactImage).
"""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..errors import InputError
from ..files import file_problem

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
SUFFIXES = {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
SUFFIXES |= {".ppm", ".pgm", ".pbm", ".pnm"}
# Images of kinds that are not read: whoever has them in a folder should be told.
FOREIGN_SUFFIXES = {".heic", ".heif", ".avif", ".jp2", ".jxl", ".psd", ".svg", ".dcm", ".exr"}
FOREIGN_SUFFIXES |= {".dng", ".nef", ".cr2", ".cr3", ".arw", ".orf", ".raf"}
MAX_PIXELS = 8192 * 8192
BYTES_PER_PIXEL = 16  # what `predict` needs to read an image and to draw on it
STRIP_PIXELS = 1 << 20
WIDE_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
ORIENTATION = 0x0112  # the EXIF tag
SAMPLES, EXTRA_SAMPLES = 277, 338  # TIFF tags: values per pixel, and what the last ones mean
PAGES = "files with several pages or frames, of which only the first is read"
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
SWAPPED = (5, 6, 7, 8)  # orientations that swap rows and columns
_pillow_limit = threading.Lock()
logger = logging.getLogger(__name__)


def read_image(
    path: str | Path, channels: int = 3, max_pixels: int = MAX_PIXELS, page: int = 1
) -> np.ndarray:
    """Read an image file as float32 (channels, H, W) in 0..1: RGB, or grey with `channels=1`.

    Args:
        page: the page of a TIFF, or the frame of a GIF, PNG or WebP, from 1.

    Raises:
        InputError: naming the file and the reason: it is missing, empty, truncated, of another
            kind, without that page, larger than `max_pixels`, or holds values that are not finite.
    """
    return np.asarray(read_compact(path, channels, max_pixels, page))


def read_compact(
    path: str | Path, channels: int = 3, max_pixels: int = MAX_PIXELS, page: int = 1
) -> CompactImage:
    """Read an image file as a CompactImage, in a quarter of the memory of `read_image`'s array or
    less. Takes and raises what `read_image` does.
    """
    if channels not in (1, 3):
        raise InputError(f"channels {channels}: an image is read as grey (1) or RGB (3)")
    with opened(path) as image:
        seek(path, image, page)
        check_size(path, image.size, max_pixels)
        image.load()
        return to_compact(upright(image), channels)


def read_values(path: str | Path, max_pixels: int = MAX_PIXELS, page: int = 1) -> np.ndarray:
    """Read an image file as `read_image` does, but in its own units: grey (H, W) of any range and
    dtype, or RGB (H, W, 3) uint8.

    Raises:
        InputError: as `read_image` does.
    """
    with opened(path) as image:
        seek(path, image, page)
        check_size(path, image.size, max_pixels)
        image.load()
        image = upright(image)
        if image.mode in WIDE_MODES:
            return np.asarray(image)
        image = over_white(image)
        return np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))


def image_size(path: str | Path, content: bytes | None = None) -> tuple[int, int]:
    """The height and width that `read_image` will give, from the file's header if possible.

    Args:
        content: the file's bytes, if there is no file of that name yet.

    Raises:
        InputError: naming the file and the reason, if the header cannot be read.
    """
    with opened(path, content) as image:
        swapped = header_orientation(image) in SWAPPED
        if image.format == "TIFF":  # Pillow turns these itself, some versions only when loading
            if swapped:
                image.load()
            swapped = False
        width, height = image.size
        return (width, height) if swapped else (height, width)


def orientation_of(path: str | Path, content: bytes | None = None) -> int:
    """The EXIF orientation by which `read_image` turns this file's image; 1 for none."""
    with opened(path, content) as image:
        turn = header_orientation(image)
    return turn if turn in UPRIGHT else 1


def header_orientation(image: Image.Image) -> int:
    """Like `orientation`, but without decoding a PNG that has no EXIF part."""
    parts = {"exif", "xmp", "XML:com.adobe.xmp"}
    return 1 if image.format == "PNG" and not parts & set(image.info) else orientation(image)


def page_count(path: str | Path) -> int:
    """The number of pages or frames in a file; 1 if it cannot be read."""
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
    """What a file holds besides the image that `read_image` makes of it: PAGES, BANDS and ALPHA,
    each with a detail.

    Args:
        content: as for `image_size`.
        page: the page that was asked for; the other pages are then not reported.

    Raises:
        InputError: naming the file and the reason, if it cannot be read.
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
    """The number of pages or frames in an open file, as far as they can be counted."""
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception:  # whatever is wrong with a later page, the first is still good
        return 1


def seek(path: str | Path, image: Image.Image, page: int) -> None:
    """Go to a page, from 1, of an open file. Raises InputError if there is no such page."""
    if page == 1:
        return
    count = pages_of(image)
    if not 1 <= page <= count:
        raise InputError(f"{path}: page {page}: the file has {count} page(s)")
    image.seek(page - 1)


def extra_bands(image: Image.Image) -> int:
    """The number of values per pixel of a TIFF that are neither colour nor alpha."""
    tags = getattr(image, "tag_v2", {})
    beyond = int(tags.get(SAMPLES, 0)) - len(image.getbands())
    return max(beyond, tuple(tags.get(EXTRA_SAMPLES, ())).count(0))


@contextmanager
def opened(path: str | Path, content: bytes | None = None) -> Iterator[Image.Image]:
    """Open an image file and read its header; anything that goes wrong becomes an InputError."""
    path = Path(path)
    if content is None:
        check_file(path)
    try:
        with open_lazily(path if content is None else io.BytesIO(content)) as image:
            yield image
    except (InputError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise InputError(f"{path}: not an image of a known kind ({', '.join(FORMATS)})") from None
    except Exception as error:  # decoders raise anything on bad data, so any error is the file's
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: cannot read the image: {reason}") from error


def check_file(path: Path) -> None:
    """Refuse a path that is not a file, or an empty file."""
    if problem := file_problem(path):
        raise InputError(f"{path}: {problem}")


def check_size(path: Path | str, size: tuple[int, int], max_pixels: int) -> None:
    """Refuse an image that is too large, before decoding any of it."""
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
    """Open an image, its header only, without Pillow's own size limit: ours replaces it."""
    with _pillow_limit:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = Image.open(path, formats=FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    with image:
        yield image


def upright(image: Image.Image) -> Image.Image:
    """The image turned upright by its EXIF orientation."""
    method = UPRIGHT.get(orientation(image))
    if method is None:
        return image
    turned = image.transpose(method)
    image.close()  # frees its memory
    return turned


def orientation(image: Image.Image) -> int:
    """The EXIF orientation; 1, upright, if there is none or the EXIF part is damaged."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # whatever a damaged tag does to the reader, the pixels are still good
        name = getattr(image, "filename", "image")
        logger.warning("%s: its EXIF data is damaged; taken as upright", name)
        return 1


@dataclass(frozen=True)
class CompactImage:
    """An image kept as its file has it. It stands for a float32 array (channels, H, W) in 0..1:
    `np.asarray(image)` makes the whole of it, `image[:, rows, columns]` a part.

    Args:
        values: (H, W, 3) or (H, W) uint8; or grey of any range (H, W), which is stretched.
        channels: 3, of which grey values fill all, or 1.
        low, high: the values that become 0 and 1, where grey is stretched.
        transparent: the value that means "nothing here", where grey is stretched; it becomes white.
    """

    values: np.ndarray
    channels: int
    low: float | None = None
    high: float = 255
    transparent: int | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.channels, *self.values.shape[:2]  # type: ignore[return-value]

    def __getitem__(self, index: tuple[slice, slice, slice]) -> np.ndarray:
        _, rows, columns = index
        part = self.values[rows, columns]
        array = np.empty((self.channels, *part.shape[:2]), np.float32)
        strip = max(1, STRIP_PIXELS // max(part.shape[1], 1))
        for top in range(0, len(part), strip):
            some = part[top : top + strip]
            if self.low is not None:
                array[:, top : top + strip] = self._stretched(some)
            else:
                pixels = np.atleast_3d(some).transpose(2, 0, 1)  # (h, W, C) -> (C, h, W)
                np.divide(pixels, np.float32(255), out=array[:, top : top + strip])
        return array[index[0]]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        whole = self[:, :, :]
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def as_bytes(self) -> np.ndarray:
        """The image as (H, W, 3) or (H, W) uint8, read-only."""
        if self.low is None:
            return self.values
        out = np.empty(self.values.shape, np.uint8)
        strip = max(1, STRIP_PIXELS // self.values.shape[1])
        for top in range(0, len(out), strip):
            grey = self._stretched(self.values[top : top + strip]).astype(np.float32)
            out[top : top + strip] = grey * 255 + 0.5
        return out

    def _stretched(self, values: np.ndarray) -> np.ndarray:
        """Values (h, W) of any range in 0..1; in double precision, as differences may be small."""
        assert self.low is not None
        strip = values.astype(np.float64) - self.low
        strip /= max(self.high - self.low, np.finfo(float).tiny)
        if self.transparent is not None:
            strip[values == self.transparent] = 1
        return strip


def to_array(image: Image.Image, channels: int) -> np.ndarray:
    """A loaded Pillow image of any mode as float32 (channels, H, W) in 0..1."""
    return np.asarray(to_compact(image, channels))


def to_compact(image: Image.Image, channels: int) -> CompactImage:
    """A loaded Pillow image of any mode as a CompactImage."""
    width, height = image.size
    if image.mode in WIDE_MODES:
        return stretched(np.asarray(image), channels, image.info.get("transparency"))
    if image.mode == "L" and "transparency" not in image.info:
        return CompactImage(np.asarray(image), channels)
    mode, depth = ("L", ()) if channels == 1 else ("RGB", (3,))
    values = np.empty((height, width, *depth), np.uint8)
    rows = max(1, STRIP_PIXELS // width)
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        values[top : top + rows] = np.asarray(over_white(strip).convert(mode))
    return CompactImage(values, channels)


def stretched(values: np.ndarray, channels: int, transparent: int | None) -> CompactImage:
    """Values (H, W) of any range as a CompactImage; a constant becomes 0."""
    seen = values if transparent is None else values[values != transparent]
    low, high = (float(seen.min()), float(seen.max())) if seen.size else (0.0, 0.0)
    if not np.isfinite([low, high]).all():  # a NaN among the values makes both NaN
        raise ValueError("it holds values that are not finite")
    return CompactImage(values, channels, low, high, transparent)


def over_white(image: Image.Image) -> Image.Image:
    """The image blended over white."""
    if not {"A", "a"} & set(image.getbands()) and "transparency" not in image.info:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
