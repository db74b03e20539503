"""Clips of all kinds, read and written; files that are odd, broken, or no video."""

import os
import sys
import tracemalloc
import types
from pathlib import Path

import numpy as np
import pytest

from tinymaskrcnn.errors import InputError
from tinymaskrcnn.video import clips
from tinymaskrcnn.video.clips import Clip, even, turn_of, writing
from tinymaskrcnn.video.hdr import HLG, PQ, to_sdr

from .making import EVEN, av, decoded, make_clip, pictures, sound_only

LIMIT = 10**6


def read(path, every=1):
    """All frames, and what was damaged."""
    with Clip(path, LIMIT) as clip:
        return list(clip.read(every)), clip.damage


def difference(a, b):
    return np.abs(a.astype(int) - b).mean()


# reading


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.ts", "libx264"), ("a.webm", "libvpx-vp9"),
     ("a.mov", "mpeg4"), ("a.avi", "mjpeg"), ("a.MP4", "libx265")],
)  # fmt: skip
def test_frames_and_times_of_usual_files(tmp_path, name, codec):
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    frames, damage = read(make_clip(tmp_path / name, codec=codec, pixels=pixels))
    assert damage is None and [f.number for f in frames] == list(range(12))
    np.testing.assert_allclose([f.time for f in frames], np.arange(12) / 25, atol=1e-3)
    for frame, picture in zip(frames, pictures(), strict=True):
        assert frame.pixels.dtype == np.uint8 and difference(frame.pixels, picture) < 5


def test_variable_rates_keep_their_times_and_the_first_frame_is_at_zero(tmp_path):
    ticks = 500_000 + np.cumsum([0, *[EVEN * (1 + 2 * (i % 4 == 3)) for i in range(11)]])
    frames, _ = read(make_clip(tmp_path / "a.mp4", ticks=ticks.tolist()))
    assert [f.time for f in frames] == pytest.approx((ticks - ticks[0]) / 90000, abs=1e-9)


def test_every_third_frame(tmp_path):
    path = make_clip(tmp_path / "a.mp4")
    frames, _ = read(path, every=3)
    assert [f.number for f in frames] == [0, 3, 6, 9]
    assert [f.time for f in frames] == pytest.approx([0, 0.12, 0.24, 0.36])
    every, _ = read(path)
    assert all((f.pixels == every[f.number].pixels).all() for f in frames)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_frames_are_turned_upright(tmp_path, degrees, mirrored):
    """FFmpeg counts against the clock's hands; what is mirrored is the result."""
    stored = pictures(3)
    path = make_clip(tmp_path / "a.mp4", stored, rotation=degrees, mirrored=mirrored)
    with av.open(str(path)) as file:
        assert next(file.decode(video=0)).side_data.get("DISPLAYMATRIX") or not degrees
    frames, _ = read(path)
    upright = np.rot90(stored[1], degrees // 90)
    upright = upright[:, ::-1] if mirrored else upright
    assert frames[1].pixels.shape == upright.shape
    assert difference(frames[1].pixels, upright) < 5


def test_the_turn_of_a_matrix():
    class Frame:
        def __init__(self, *matrix):
            one = 1 << 16
            rows = np.array([*(one * m for m in matrix[:2]), 0, *(one * m for m in matrix[2:])])
            self.side_data = {"DISPLAYMATRIX": np.append(rows, [0] * 4).astype(np.int32).tobytes()}

    assert turn_of(Frame(1, 0, 0, 1)) == (False, False, False)
    assert turn_of(Frame(-1, 0, 0, -1)) == (False, True, True)
    assert turn_of(Frame(0, 1, -1, 0)) == (True, True, False)  # x' = -y: a quarter with the clock
    assert turn_of(Frame(0, -1, 1, 0)) == (True, False, True)


def test_ten_bits_and_full_range_and_colour_spaces(tmp_path):
    for space, name in ((1, "ITU709"), (9, "BT2020"), (5, "ITU601")):
        for pixels in ("yuv420p", "yuv420p10le"):
            for wide in (1, 2):
                ready = [
                    av.VideoFrame.from_ndarray(p).reformat(
                        format=pixels, dst_colorspace=name, dst_color_range=wide
                    )
                    for p in pictures(2)
                ]
                colours = {"colorspace": space, "color_range": wide}
                path = tmp_path / f"{space}{pixels}{wide}.mkv"
                make_clip(path, ready, pixels=pixels, colours=colours)
                frames, _ = read(path)
                assert difference(frames[1].pixels, pictures(2)[1]) < 5


@pytest.mark.parametrize(("transfer", "white"), [(PQ, 0.5807), (HLG, 0.75)])
def test_high_dynamic_range_becomes_ordinary(tmp_path, transfer, white):
    """White paper, which both curves put at 203 cd/m² (ITU-R BT.2408), is light grey, as there must
    be room for what is brighter; the curve's top is white, black is black.
    """
    rows = []
    for code in (0.0, white, 1.0 if transfer == HLG else 0.7518):  # the last: 1000 cd/m²
        rgb = np.full((16, 64, 3), round(code * 65535), np.uint16)
        rows.append(rgb)
    frame = av.VideoFrame.from_ndarray(np.concatenate(rows), format="rgb48le")
    frame = frame.reformat(format="yuv420p10le", dst_colorspace="BT2020")
    colours = {"colorspace": 9, "color_primaries": 9, "color_trc": transfer, "color_range": 1}
    make_clip(tmp_path / "a.mp4", [frame], pixels="yuv420p10le", colours=colours)
    (found,), _ = read(tmp_path / "a.mp4")
    black, paper, top = (found.pixels[y, 32].mean() for y in (4, 24, 44))
    assert black < 4 and 180 < paper < 205 and top > 250
    assert np.ptp(found.pixels[24, 32].astype(int)) <= 2  # grey stays grey


def test_colours_of_high_dynamic_range():
    """A saturated red of BT.2020 lies outside BT.709: it is still red, and nothing wraps."""
    red = to_sdr(np.array([[[38000, 0, 0]]], np.uint16), PQ)[0, 0]
    assert red[0] > 150 and red[1] < 5 and red[2] < 5
    steps = to_sdr(np.repeat(np.arange(0, 65536, 64, np.uint16)[None, :, None], 3, axis=2), PQ)[0]
    assert (np.diff(steps[:, 0].astype(int)) >= 0).all() and steps[-1, 0] == 255


def test_frames_that_change_their_size_are_scaled_to_the_first(tmp_path):
    parts = [make_clip(tmp_path / f"{h}.ts", pictures(4, (h, 96))) for h in (64, 32)]
    (tmp_path / "both.ts").write_bytes(b"".join(p.read_bytes() for p in parts))
    frames, _ = read(tmp_path / "both.ts")
    assert len(frames) == 8 and {f.pixels.shape for f in frames} == {(64, 96, 3)}
    times = [f.time for f in frames]
    assert times == sorted(times) and len(set(times)) == 8  # though the second part starts anew


def test_sound_is_left_out(tmp_path):
    frames, damage = read(make_clip(tmp_path / "a.mp4", sound=True))
    assert len(frames) == 12 and damage is None  # the sound is longer


# writing


def written(source, path, change=lambda pixels: pixels):
    with Clip(source, LIMIT) as clip, writing(path, clip, "made by a test") as add:
        frames = list(clip.read())
        for frame in frames:
            add(frame, change(frame.pixels))
    return frames


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_what_is_written_is_read_with_the_same_times(tmp_path, name):
    ticks = (7000 + np.cumsum([0, *[EVEN * (1 + 2 * (i % 4 == 3)) for i in range(11)]])).tolist()
    frames = written(make_clip(tmp_path / name, ticks=ticks), tmp_path / "b.mp4")
    times, back = decoded(tmp_path / "b.mp4")
    assert times == pytest.approx([f.time for f in frames], abs=1e-6)
    assert all(difference(a.pixels, b) < 4 for a, b in zip(frames, back, strict=True))
    assert b"made by a test" in (tmp_path / "b.mp4").read_bytes()[-5000:]
    with av.open(str(tmp_path / "b.mp4")) as file:
        stream = file.streams.video[0]
        assert stream.codec_context.name == "h264" and stream.pix_fmt == "yuv420p"
        assert stream.colorspace == 1  # so that players need not guess


def test_the_last_frame_is_shown_as_long_as_before(tmp_path):
    make_clip(tmp_path / "a.mkv", ticks=[EVEN * i for i in range(12)])
    written(tmp_path / "a.mkv", tmp_path / "b.mp4")
    with av.open(str(tmp_path / "b.mp4")) as file:
        assert file.duration == pytest.approx(12 * 40_000, abs=1000)  # microseconds


@pytest.mark.parametrize("size", [(63, 95), (64, 95), (63, 96), (1, 1)])
def test_odd_sides_are_made_even_by_doubling_the_last(tmp_path, size):
    written(make_clip(tmp_path / "a.mp4"), tmp_path / "b.mp4", lambda p: p[: size[0], : size[1]])
    _, frames = decoded(tmp_path / "b.mp4")
    height, width = size[0] + size[0] % 2, size[1] + size[1] % 2
    assert frames[0].shape == (height, width, 3)
    grid = np.arange(9, dtype=np.uint8).reshape(3, 3, 1).repeat(3, axis=2)
    assert even(grid)[:, :, 0].tolist() == [[0, 1, 2, 2], [3, 4, 5, 5], [6, 7, 8, 8], [6, 7, 8, 8]]


def test_pixels_that_are_not_square_stay_so(tmp_path):
    path = make_clip(tmp_path / "a.mkv", rotation=None, aspect="16/15")
    written(path, tmp_path / "b.mp4")
    with av.open(str(tmp_path / "b.mp4")) as file:
        assert file.streams.video[0].sample_aspect_ratio == clips.Fraction(16, 15)


def test_memory_does_not_grow_with_the_clip(tmp_path):
    peaks = []
    for count in (20, 80):
        one = pictures(1, (240, 320))[0]
        path = make_clip(tmp_path / f"{count}.mp4", [one] * count)
        with Clip(path, LIMIT) as clip, writing(tmp_path / "b.mp4", clip, "") as add:
            tracemalloc.start()
            for frame in clip.read():
                add(frame, frame.pixels)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < peaks[0] + one.nbytes


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    source, target = make_clip(tmp_path / "a.mp4"), tmp_path / "b.mp4"
    target.write_bytes(b"old")
    with (
        pytest.raises((KeyboardInterrupt, OSError)),
        Clip(source, LIMIT) as clip,
        writing(target, clip, "") as add,
    ):
        for frame in clip.read():
            add(frame, frame.pixels)
        raise error
    assert target.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["a.mp4", "b.mp4"]


# files that are broken or no video


def message(path, limit=LIMIT):
    with pytest.raises(InputError) as problem, Clip(path, limit) as clip:
        list(clip.read())
    assert str(problem.value).startswith(f"{path}: ")
    return str(problem.value).removeprefix(f"{path}: ")


def no_frames(path):
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        file.start_encoding()


def playlist(path):
    other = make_clip(path.parent / "other.ts")
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{other}\n#EXT-X-ENDLIST\n")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda path: path.write_text("not a video\n" * 50), "cannot read this as video: Invalid"),
        (lambda path: path.write_bytes(b""), "the file is empty"),
        (lambda path: path.mkdir(), "not a file"),
        (lambda path: None, "no such file"),
        (sound_only, "there is no video in this file, only audio"),
        (no_frames, "there "),
        (playlist, "cannot read this as video: Invalid"),  # which would open another file
        (lambda path: path.write_bytes(os.urandom(5000)), "cannot read this as video"),
    ],
)
def test_what_is_no_video_is_one_line(tmp_path, make, text):
    path = tmp_path / "a.mp4"
    make(path)
    assert message(path).startswith(text)


def test_frames_larger_than_the_limit_are_not_decoded(tmp_path):
    text = message(make_clip(tmp_path / "a.mp4"), limit=6000)
    assert text.startswith("96 x 64 = 6144 pixels, more than the limit of 6000; allow it with")


@pytest.mark.parametrize("part", [0.3, 0.7])
@pytest.mark.parametrize(
    ("name", "container"),
    [
        ("a.mkv", {}),
        ("a.mp4", {"movflags": "faststart"}),
        ("a.mp4", {"movflags": "frag_keyframe+empty_moov"}),
    ],
)
def test_a_file_that_is_cut_off_gives_its_frames_and_says_so(tmp_path, name, container, part):
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (64, 96, 3), np.uint8) for _ in range(25)]  # frames of equal size
    whole = make_clip(tmp_path / name, noise, container=container)
    size = whole.stat().st_size
    os.truncate(whole, int(part * size))
    frames, damage = read(whole)
    assert 0.6 * part * 25 < len(frames) <= part * 25 + 1
    assert f"{len(frames)} frames could be read" in damage and "cut off" in damage


def test_a_file_whose_index_is_cut_off_is_one_line(tmp_path):
    path = make_clip(tmp_path / "a.mp4")
    os.truncate(path, path.stat().st_size - 300)
    assert "cannot read this as video" in (text := message(path)) or "or it is cut off" in text


def test_every_damaged_byte_is_one_line_or_read(tmp_path):
    rng = np.random.default_rng(1)
    whole = make_clip(tmp_path / "a.mp4", pictures(5)).read_bytes()
    path = tmp_path / "b.mp4"
    for _ in range(60):
        content = bytearray(whole)
        for place in rng.integers(len(whole), size=4):
            content[place] = rng.integers(256)
        path.write_bytes(content)
        try:
            frames, _ = read(path)
        except InputError as problem:
            assert "\n" not in str(problem)
        else:
            assert len(frames) >= 1


@pytest.mark.parametrize("module", [None, types.SimpleNamespace(__version__="17.9.1")])
def test_without_pyav_one_line_tells_what_to_install(tmp_path, monkeypatch, module):
    monkeypatch.setitem(sys.modules, "av", module)
    path = tmp_path / "a.mp4"
    path.write_bytes(b"anything")
    text = message(path)
    assert text.startswith("reading video needs PyAV 18 (")
    assert text.endswith("); pip install 'tinymaskrcnn[video]'")


def test_names_of_clips():
    assert all(clips.is_clip(Path(name)) for name in ("a.mp4", "B.MOV", "c.d.webm"))
    assert not any(clips.is_clip(Path(name)) for name in ("a.gif", "mp4", "a.mp4.png"))
