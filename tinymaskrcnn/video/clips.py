"""Read and write video clips frame by frame, through PyAV (the extra `video`).

Frames come upright, as ordinary RGB and with their times; a clip may be of any length. Results are
H.264 in MP4. Not here: sound, which is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..datasets.images import check_file, check_size
from ..errors import InputError, one_line
from ..files import replacing
from .hdr import HLG, PQ, to_sdr

SUFFIXES = {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts"}
SUFFIXES |= {".m2ts", ".wmv", ".flv", ".3gp", ".ogv"}
# What FFmpeg may take a file for. Others, such as playlists, would open further files.
DEMUXERS = "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,asf,flv,ogg,h264,hevc,m4v,mp3,wav,aac,flac"
OLDEST = 18  # version of PyAV
UNSPECIFIED = 2  # FFmpeg's number of a colour space that the file does not tell
BT709, TV_RANGE = 1, 1
HD = 720  # rows; from here on an unspecified colour space is taken as BT.709, as players do
MATRIX = "DISPLAYMATRIX"  # how a frame is to be turned: nine numbers


class Frame(NamedTuple):
    """One frame of a clip.

    Attributes:
        number: from 0.
        pixels: (H, W, 3) uint8, RGB, upright.
        ticks, duration: when it is shown, since the first frame, and for how long (0: unknown), in
            `Clip.time_base`.
        time: when it is shown, in seconds since the first frame.
    """

    number: int
    pixels: np.ndarray
    ticks: int
    duration: int
    time: float


class Clip:
    """A video file, open for reading; use it as a context.

    Args:
        path: the file.
        max_pixels: larger frames are refused.

    Attributes:
        time_base: seconds per tick.
        rate: frames per second, on average, as the file tells.
        frames: about how many there are; None if the file does not tell.
        aspect: width of a pixel by its height, of upright frames.
        damage: what could not be read, once the frames are read; None for nothing.

    Raises:
        InputError: naming the file and the reason: it is no video, damaged from the start, or too
            large, or PyAV is missing.
    """

    def __init__(self, path: Path, max_pixels: int) -> None:
        check_file(path)
        self.path, self.max_pixels = path, max_pixels
        self._av = pyav(path)
        self.damage: str | None = None
        with ExitStack() as opened:
            self._file = opened.enter_context(open(path, "rb"))
            with self._reading():
                self._container = opened.enter_context(
                    self._av.open(
                        self._file,
                        container_options={"format_whitelist": DEMUXERS},
                        metadata_errors="replace",
                    )
                )
            self._stream = self._video_stream()
            self._describe()
            self._opened = opened.pop_all()

    def _describe(self) -> None:
        """Take over what the header tells. Raises InputError if frames are too large."""
        stream = self._stream
        if stream.width and stream.height:
            check_size(self.path, (stream.width, stream.height), self.max_pixels)
        stream.thread_type = "AUTO"
        self.time_base = Fraction(stream.time_base or Fraction(1, 1000))
        self.rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
        self.aspect = Fraction(stream.sample_aspect_ratio or 1)
        seconds = self._length()
        self.frames = stream.frames or (round(seconds * self.rate) if seconds else None)

    def __enter__(self) -> Clip:
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.close()

    def read(self, every: int = 1) -> Iterator[Frame]:
        """The first frame, and each `every`-th after it.

        Damaged parts are skipped, and told in `damage` afterwards. All frames have the size of the
        first: if the size changes within the clip, they are scaled.

        Raises:
            InputError: there are no frames, or they are too large.
        """
        size: tuple[int, int] | None = None  # width and height, as stored
        index, start, last, end, damaged = -1, 0, -1, 0, 0
        for index, frame in enumerate(self._decoded()):
            check_size(self.path, (frame.width, frame.height), self.max_pixels)
            size = size or (frame.width, frame.height)
            ticks = self._ticks(frame, index)
            if index == 0:
                start = ticks
                if turn_of(frame)[0]:
                    self.aspect = 1 / self.aspect
            ticks = max(ticks - start, last + 1)  # also where the file's times go back
            last, end = ticks, ticks + (frame.duration or 0)
            damaged += frame.is_corrupt
            if index % every == 0:
                pixels = turned(rgb(frame, size), turn_of(frame))
                time = float(ticks * self.time_base)
                yield Frame(index, pixels, ticks, every * (frame.duration or 0), time)
        if index < 0:
            raise InputError(f"{self.path}: there are no frames in this video")
        if damaged and not self.damage:
            self.damage = f"{damaged} of them wrong"
        self._look_for_missing(index + 1, float(end * self.time_base))

    def _decoded(self) -> Iterator[Any]:
        """All frames that can be decoded."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except self._av.FFmpegError as problem:  # cut off
                self.damage = problem.strerror
                packet = None
            try:
                yield from self._stream.decode(packet)
            except self._av.FFmpegError as problem:
                if packet is not None or not isinstance(problem, self._av.EOFError):
                    self.damage = problem.strerror
            if packet is None:
                return

    def _look_for_missing(self, count: int, end: float) -> None:
        """Note in `damage` if the frames end before the clip does."""
        seconds = self._length()
        read = f"{count} frames could be read"
        if self.damage:
            self.damage = f"damaged or cut off: {read} ({one_line(self.damage)})"
        elif seconds and end + 1 / float(self.rate) < 0.98 * seconds - 0.1:
            self.damage = f"cut off: {read}, {end:.1f} of {seconds:.1f} seconds"

    def _length(self) -> float | None:
        """How many seconds of video the file's header tells."""
        if self._stream.duration:
            return float(self._stream.duration * self._stream.time_base)
        whole = self._container.duration  # of all streams: sound may go on without frames
        return whole / self._av.time_base if whole and len(self._container.streams) == 1 else None

    def _ticks(self, frame: Any, index: int) -> int:
        """When a frame is shown; by the usual rate if the file does not tell."""
        if frame.pts is None:
            return round(index / self.rate / self.time_base)
        return round(frame.pts * Fraction(frame.time_base) / self.time_base)

    def _video_stream(self) -> Any:
        """The stream of frames; the cover of a piece of music is none."""
        cover = self._av.stream.Disposition.attached_pic
        for stream in self._container.streams.video:
            if not stream.disposition & cover and stream.codec_context is not None:
                return stream
        kinds = {stream.type for stream in self._container.streams} - {"data"}
        rest = f"only {', '.join(sorted(kinds))}" if kinds else "or it is cut off"
        raise InputError(f"{self.path}: there is no video in this file, {rest}")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """What PyAV does not understand becomes an InputError."""
        try:
            yield
        except self._av.FFmpegError as problem:
            reason = one_line(str(problem.strerror))
            raise InputError(f"{self.path}: cannot read this as video: {reason}") from problem


def is_clip(path: Path) -> bool:
    """Whether a file's name is that of a video."""
    return path.suffix.lower() in SUFFIXES


def pyav(path: Path) -> Any:
    """PyAV's module. Raises InputError, naming the file that needs it, if it is missing or old."""
    try:
        import av

        problem = "" if int(av.__version__.split(".")[0]) >= OLDEST else f"not {av.__version__}"
    except ImportError as missing:
        problem = str(missing)
    if problem:
        raise InputError(
            f"{path}: reading video needs PyAV {OLDEST} ({problem}); pip install "
            "'tinymaskrcnn[video]'"
        )
    return av


def rgb(frame: Any, size: tuple[int, int]) -> np.ndarray:
    """A decoded frame as (H, W, 3) uint8, scaled to this width and height if they differ."""
    change: dict[str, Any] = {"width": size[0], "height": size[1]}
    if frame.colorspace == UNSPECIFIED:
        change["src_colorspace"] = "ITU709" if frame.height >= HD else "ITU601"
    if frame.color_trc in (PQ, HLG):
        return to_sdr(frame.to_ndarray(format="rgb48le", **change), frame.color_trc)
    return frame.to_ndarray(format="rgb24", **change)


def turn_of(frame: Any) -> tuple[bool, bool, bool]:
    """How a frame is turned upright: whether rows become columns, and whether it is then mirrored
    left to right and top to bottom.

    The file has a matrix for it, by which x' = a x + c y and y' = b x + d y. Only right angles are
    followed, as players do.
    """
    if (data := frame.side_data.get(MATRIX)) is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
    swapped = abs(b) + abs(c) > abs(a) + abs(d)
    return swapped, (c if swapped else a) < 0, (b if swapped else d) < 0


def turned(pixels: np.ndarray, turn: tuple[bool, bool, bool]) -> np.ndarray:
    """Pixels (H, W, 3) turned as `turn_of` says."""
    swapped, mirrored, upended = turn
    if swapped:
        pixels = pixels.transpose(1, 0, 2)
    pixels = pixels[:: -1 if upended else 1, :: -1 if mirrored else 1]
    return np.ascontiguousarray(pixels)


@contextmanager
def writing(path: Path, clip: Clip, mark: str) -> Iterator[Callable[[Frame, np.ndarray], None]]:
    """Write a clip of H.264, whole or not at all, with the times of another.

    Args:
        path: the file to write.
        clip: the other.
        mark: text to put into its comment (see `files.check_output`).

    Yields:
        A function that adds a frame: the one it is made of, and its pixels (H, W, 3) uint8. A last
        row or column is doubled if their number is odd.

    Raises:
        OSError: as the system reports it; an old file is then still there.
        InputError: PyAV cannot encode this.
    """
    av = pyav(path)
    try:
        with (
            replacing(path) as partial,
            open(partial, "wb") as file,
            av.open(file, "w", format="mp4") as container,
        ):
            container.metadata["comment"] = mark
            stream = container.add_stream("libx264", rate=clip.rate)
            stream.options = {"crf": "20", "preset": "veryfast"}
            context = stream.codec_context
            context.time_base = clip.time_base
            durations: dict[int, int] = {}  # of frames that are being encoded

            def mux(packets: list[Any]) -> None:
                for packet in packets:
                    packet.duration = durations.pop(packet.pts, 0) or packet.duration
                container.mux(packets)

            def add(frame: Frame, pixels: np.ndarray) -> None:
                if frame.number == 0:
                    height, width = pixels.shape[:2]
                    stream.height, stream.width = height + height % 2, width + width % 2
                    stream.pix_fmt = "yuv420p"
                    context.sample_aspect_ratio = clip.aspect
                    context.colorspace = context.color_primaries = context.color_trc = BT709
                    context.color_range = TV_RANGE
                pixels = even(pixels)
                image = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                image = image.reformat(format="yuv420p", dst_colorspace="ITU709")
                image.pts, image.time_base = frame.ticks, clip.time_base
                durations[frame.ticks] = frame.duration
                mux(stream.encode(image))

            yield add
            mux(stream.encode())
    except av.FFmpegError as problem:
        if isinstance(problem, OSError):
            raise
        raise InputError(f"{path}: cannot write this video: {problem.strerror}") from problem


def even(pixels: np.ndarray) -> np.ndarray:
    """Pixels (H, W, 3) with an even number of rows and columns: H.264 halves its colours."""
    height, width = pixels.shape[:2]
    if height % 2 or width % 2:
        pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(pixels)
