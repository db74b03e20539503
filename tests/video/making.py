"""Small video files of all kinds, made with PyAV."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

av = pytest.importorskip("av")
TICK = Fraction(1, 90000)
EVEN = 3600  # ticks of a frame at 25 frames per second


def pictures(count=12, size=(64, 96)):
    """A bright square that moves right by four pixels per frame over grey: (H, W, 3) uint8."""
    out = []
    for i in range(count):
        picture = np.full((*size, 3), 90, np.uint8)
        picture[20:40, 8 + 4 * i : 28 + 4 * i] = (250, 200, 40)
        out.append(picture)
    return out


def make_clip(
    path,
    frames=None,
    codec="libx264",
    pixels="yuv420p",
    ticks=None,
    rotation=None,
    mirrored=False,
    colours=None,
    container=None,
    sound=False,
    aspect=None,
):
    """Write a clip. `ticks` are the frames' times in 1/90000 s; `colours` are attributes of the
    codec; frames may be ready-made video frames.
    """
    frames = pictures() if frames is None else frames
    ticks = [EVEN * i for i in range(len(frames))] if ticks is None else ticks
    with av.open(str(path), "w", container_options=container or {}) as file:
        stream = file.add_stream(codec, rate=25)
        if isinstance(frames[0], np.ndarray):
            stream.height, stream.width = frames[0].shape[:2]
        else:
            stream.height, stream.width = frames[0].height, frames[0].width
        stream.pix_fmt = pixels
        stream.options = {"crf": "10"}
        if codec == "libx264":
            stream.codec_context.time_base = TICK
        for name, value in (colours or {}).items():
            setattr(stream.codec_context, name, value)
        if aspect:
            stream.codec_context.sample_aspect_ratio = Fraction(aspect)
        if rotation is not None:
            stream.set_display_rotation(rotation, hflip=mirrored)
        if sound:
            add_sound(file)
        for frame, tick in zip(frames, ticks, strict=True):
            if isinstance(frame, np.ndarray):
                frame = av.VideoFrame.from_ndarray(frame)
            frame.pts, frame.time_base = tick, TICK
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return Path(path)


def add_sound(file, seconds=1):
    stream = file.add_stream("aac", rate=8000)
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000 * seconds), np.float32), "fltp", "mono")
    frame.sample_rate = 8000
    file.mux(stream.encode(frame))
    file.mux(stream.encode())


def sound_only(path):
    with av.open(str(path), "w") as file:
        add_sound(file)
    return Path(path)


def decoded(path):
    """Times in seconds and pixels (H, W, 3) of all frames, by PyAV alone."""
    with av.open(str(path)) as file:
        frames = list(file.decode(video=0))
        return [float(f.pts * f.time_base) for f in frames], [
            f.to_ndarray(format="rgb24") for f in frames
        ]
