"""`predict` on videos: what it writes, beside images and alone, and what it never destroys."""

import contextlib
import csv
import io
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

from tests.video.making import decoded, make_clip, pictures
from tests.video.scoring import switches, trackeval_scores
from tinymaskrcnn.cli import main
from tinymaskrcnn.commands import predict
from tinymaskrcnn.commands.clips import COLUMNS
from tinymaskrcnn.datasets.moving_shapes import MovingShapes
from tinymaskrcnn.viz.draw import as_bytes

from .test_cli import image_file, run, small_weights


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Every test runs in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A model that finds something in every frame."""
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    return small_weights(path, box_score_thresh=0.0, box_detections_per_img=5)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """A clip of moving shapes with what `predict` made of it, and its truth per frame; every fifth
    frame is shown twice as long."""
    folder = tmp_path_factory.mktemp("shapes")
    frames = list(MovingShapes(60, seed=1, objects=6))
    ticks = np.cumsum([3600 * (1 + (i % 5 == 0)) for i in range(60)])
    ticks = (ticks - ticks[0]).tolist()
    path = make_clip(folder / "clip.mp4", [as_bytes(image) for image, _ in frames], ticks=ticks)
    said, told = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(told):
        status = main(["predict", str(path), "--out", str(folder / "out"), "--json", "--csv"])
    assert (status, told.getvalue()) == (0, "")
    truth = [(target["boxes"], target["track_ids"]) for _, target in frames]
    return folder / "out", [t / 90000 for t in ticks], truth, said.getvalue()


def small(*arguments, weights):
    return ["predict", *arguments, "--weights", weights, "--score", "0", "--out", "out"]


def test_a_clip_is_drawn_with_the_same_times_and_size(shapes):
    out, times, _, said = shapes
    back, frames = decoded(out / "clip_predicted.mp4")
    assert back == pytest.approx(times, abs=1e-6)
    assert {f.shape for f in frames} == {(128, 128, 3)}
    assert said.count("\n") == 1
    assert said.endswith(f" tracks -> {out / 'clip_predicted.mp4'}\n")
    assert sorted(os.listdir(out)) == [f"clip_predicted.{s}" for s in ("csv", "json", "mp4")]


def tracks_of(json_file):
    """(boxes, numbers) per frame."""
    content = COCO(json_file)
    found = []
    for image in content.imgs:
        some = content.imgToAnns[image]
        boxes = np.array([a["bbox"] for a in some]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        found.append((boxes, [a["track_id"] for a in some]))
    return found


def test_the_json_has_every_frame_and_its_tracks_follow_the_truth(shapes):
    out, times, truth, _ = shapes
    content = json.loads((out / "clip_predicted.json").read_text())
    assert [image["frame"] for image in content["images"]] == list(range(60))
    assert [image["time"] for image in content["images"]] == pytest.approx(times, abs=1e-6)
    assert {image["file_name"][-8:] for image in content["images"]} == {"clip.mp4"}
    assert [c["name"] for c in content["categories"]] == ["square", "circle", "triangle"]
    assert [a["id"] for a in content["annotations"]] == list(
        range(1, len(content["annotations"]) + 1)
    )
    found = tracks_of(out / "clip_predicted.json")
    count, objects, sightings = switches(truth, found)
    assert objects == 6 and sightings >= 170 and count <= 7
    hota, idf1, _ = trackeval_scores(truth, found)
    assert hota >= 0.65 and idf1 >= 0.7


def test_the_table_and_the_json_agree(shapes):
    out = shapes[0]
    content = json.loads((out / "clip_predicted.json").read_text())
    with open(out / "clip_predicted.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(COLUMNS)
    assert len(rows) == len(content["annotations"]) > 100
    names = {c["id"]: c["name"] for c in content["categories"]}
    for row, one in zip(rows, content["annotations"], strict=True):
        image = content["images"][one["image_id"] - 1]
        assert (int(row["frame"]), int(row["track_id"])) == (image["frame"], one["track_id"])
        assert row["class"] == names[one["category_id"]] and float(row["area"]) == one["area"]
        assert float(row["time"]) == image["time"]
        box = [float(row[name]) for name in ("x", "y", "width", "height")]
        assert box == pytest.approx(one["bbox"], abs=0.006)


def test_objects_are_drawn_where_the_json_has_them(shapes):
    out = shapes[0]
    _, drawn = decoded(out / "clip_predicted.mp4")
    _, plain = decoded(out.parent / "clip.mp4")
    content = COCO(out / "clip_predicted.json")
    changes = {True: [], False: []}
    for image in content.imgs:
        inside = np.zeros((128, 128), bool)
        for one in content.imgToAnns[image]:
            inside |= content.annToMask(one) > 0
        change = np.abs(drawn[image - 1].astype(int) - plain[image - 1]).mean(axis=2)
        tags = np.zeros_like(inside)  # and the edges of the masks
        for one in content.imgToAnns[image]:
            x, y, w, h = (int(v) for v in one["bbox"])
            tags[max(y - 24, 0) : y + h + 24, max(x - 24, 0) : x + w + 40] = True
        changes[True] += change[inside].tolist()
        changes[False] += change[~tags].tolist()
    assert np.mean(changes[True]) > 25 and np.mean(changes[False]) < 8  # noise, encoded twice


def test_every_nth_frame_without_tracks(capsys, weights):
    make_clip("a.mp4")
    words = small("a.mp4", "--json", "--csv", "--every", "5", "--no-track", weights=weights)
    status, out, err = run(capsys, *words)
    assert (status, err) == (0, "")
    assert out == "a.mp4: 3 frames, 15 objects -> out/a_predicted.mp4\n"
    assert decoded("out/a_predicted.mp4")[0] == pytest.approx([0, 0.2, 0.4])
    content = json.loads(Path("out/a_predicted.json").read_text())
    assert [image["frame"] for image in content["images"]] == [0, 5, 10]
    assert {a["image_id"] for a in content["annotations"]} <= {i["id"] for i in content["images"]}
    assert not any("track_id" in a for a in content["annotations"])
    rows = Path("out/a_predicted.csv").read_text().splitlines()
    assert len(rows) == 16 and all(row.split(",")[2] == "" for row in rows[1:])


def test_a_progress_bar_counts_frames(monkeypatch, weights):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    make_clip("a.mp4")
    real = predict.Work._detected

    def slow(self, image):
        time.sleep(0.06)
        return real(self, image)

    monkeypatch.setattr(predict.Work, "_detected", slow)
    terminal = Terminal()
    with contextlib.redirect_stderr(terminal), contextlib.redirect_stdout(io.StringIO()):
        assert main(small("a.mp4", "--every", "2", weights=weights)) == 0
    shown = terminal.getvalue()
    assert "a.mp4: " in shown and "/12 [" in shown and "frame/s" in shown


def without_limits(err):
    """What is said beside the lines about images in which there are as many objects as may be."""
    lines = err.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("at the limit of objects"))


def test_clips_among_images_and_in_folders(capsys, weights):
    Path("in").mkdir()
    image_file(Path("in/a.png"))
    make_clip("in/a.mp4")
    make_clip("in/B.MKV", pictures(3))
    Path("in/notes.txt").write_text("no video")
    make_clip("a.mov", pictures(2))
    status, out, err = run(capsys, *small("in", "a.mov", "--json", weights=weights))
    assert (status, without_limits(err)) == (0, "")
    names = ["B_predicted", "a_predicted", "a_predicted-2"]
    assert {line.split(" -> ")[1] for line in out.splitlines()} == {
        "out/a_predicted.png",
        *(f"out/{name}.mp4" for name in names),
    }
    assert sorted(os.listdir("out")) == sorted(
        ["predictions.json", "a_predicted.png"]
        + [f"{name}{suffix}" for name in names for suffix in (".mp4", ".json")]
    )
    content = json.loads(Path("out/predictions.json").read_text())
    assert [image["file_name"] for image in content["images"]] == ["in/a.png"]


def test_videos_in_a_folder_of_images_are_left_out_without_pyav(capsys, monkeypatch, weights):
    Path("in").mkdir()
    image_file(Path("in/a.png"))
    make_clip("in/b.mp4")
    monkeypatch.setattr(predict, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "av", None)
    status, out, err = run(capsys, *small("in", weights=weights))
    assert status == 0 and out.startswith("in/a.png: ") and out.count("\n") == 1
    assert without_limits(err) == "in: left out, 1 video: pip install 'tinymaskrcnn[video]'\n"
    os.remove("in/a.png")
    for given, wanted in (("in", 1), ("in/b.mp4", 2)):
        status, _, err = run(capsys, *small(given, weights=weights))
        assert status == wanted
        assert err.startswith("in/b.mp4: reading video needs PyAV") and "tinymaskrcnn[video]" in err


def test_broken_clips_do_not_end_the_others(capsys, weights):
    Path("in").mkdir()
    Path("in/a.mp4").write_text("not a video")
    make_clip("in/b.mkv")
    make_clip("in/c.mkv", pictures(25))
    os.truncate("in/c.mkv", 2 * os.path.getsize("in/c.mkv") // 3)
    status, out, err = run(capsys, *small("in", "--json", weights=weights))
    assert status == 1
    assert [line.split(":")[0] for line in out.splitlines()] == ["in/b.mkv", "in/c.mkv"]
    lines = err.splitlines()
    assert lines[0].startswith("in/a.mp4: cannot read this as video")
    assert lines[1].startswith("in/c.mkv: cut off: ")  # what could be read is written
    assert lines[2] == "2 of 3 files could not be read or drawn"
    kept = [f"{name}_predicted{suffix}" for name in "bc" for suffix in (".json", ".mp4")]
    assert sorted(os.listdir("out")) == kept


@pytest.mark.parametrize(("how", "brightest"), [("auto", 1.0), ("off", 0.2)])
def test_dark_frames_are_stretched_as_images_are(capsys, monkeypatch, weights, how, brightest):
    seen = []

    def noting(model, image, *more):
        seen.append(float(image.max()))
        return detect_in(model, image, *more)

    detect_in = predict.detect_in
    monkeypatch.setattr(predict, "detect_in", noting)
    ramp = np.linspace(10, 50, 64 * 96).reshape(64, 96, 1).repeat(3, axis=2).astype(np.uint8)
    make_clip("dark.mp4", [ramp] * 2)
    status, _, _ = run(capsys, *small("dark.mp4", "--stretch", how, weights=weights))
    assert status == 0 and seen == pytest.approx([brightest] * 2, abs=0.03)


@pytest.mark.parametrize(("option", "value"), [("--every", ["2"]), ("--no-track", [])])
def test_options_for_videos_need_one(capsys, weights, option, value):
    image_file(Path("a.png"))
    status, _, err = run(capsys, *small("a.png", option, *value, weights=weights))
    assert status == 2 and f"{option}: this is for videos, and there is none" in err


def test_large_frames_are_refused_by_their_number_of_pixels(capsys, weights):
    make_clip("a.mp4")
    status, _, err = run(capsys, *small("a.mp4", "--max-pixels", "6143", weights=weights))
    assert status == 2 and err.startswith("a.mp4: 96 x 64 = 6144 pixels, more than the limit")


# what may be replaced


@pytest.mark.parametrize("suffix", [".mp4", ".json", ".csv"])
def test_what_we_did_not_write_needs_force_and_what_we_did_does_not(capsys, weights, suffix):
    make_clip("a.mp4", pictures(3))
    Path("out").mkdir()
    target = Path(f"out/a_predicted{suffix}")
    target.write_bytes(b"years of work")
    words = small("a.mp4", "--json", "--csv", weights=weights)
    status, _, err = run(capsys, *words)
    assert status == 2 and target.read_bytes() == b"years of work"
    assert err == f"{target}: this command did not write that file; --force replaces it\n"
    for more in (["--force"], []):
        status, _, err = run(capsys, *words, *more)
        assert (status, err) == (0, "")
    assert target.read_bytes() != b"years of work"


def test_a_clip_is_never_its_own_result(capsys, weights):
    Path("out").mkdir()
    before = make_clip("out/a_predicted.mp4").read_bytes()
    os.link("out/a_predicted.mp4", "a.mp4")
    status, out, _ = run(capsys, *small("a.mp4", "--force", weights=weights))
    assert status == 0 and out.endswith("-> out/a_predicted-2.mp4\n")
    assert Path("a.mp4").read_bytes() == before


@pytest.mark.parametrize("problem", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_what_stops_in_the_middle_leaves_the_old_results(capsys, monkeypatch, weights, problem):
    make_clip("a.mp4")
    words = small("a.mp4", "--json", "--csv", weights=weights)
    assert run(capsys, *words)[0] == 0
    before = {path: path.read_bytes() for path in Path("out").iterdir()}
    real, calls = predict.Work._detected, []

    def stopping(self, image):
        calls.append(0)
        if len(calls) == 5:
            raise problem
        return real(self, image)

    monkeypatch.setattr(predict.Work, "_detected", stopping)
    status, out, err = run(capsys, *words, "--every", "2")
    assert (status, out) == ((130 if problem is KeyboardInterrupt else 1), "")
    assert err.count("\n") == 1
    assert {path: path.read_bytes() for path in Path("out").iterdir()} == before


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_is_one_line(capsys, monkeypatch, weights):
    """Every byte of the results goes to a full device."""
    make_clip("a.mp4", pictures(40, (128, 128)))
    from tinymaskrcnn.video import clips

    def full(path, mode="r", **settings):
        return open("/dev/full" if "w" in mode else path, mode, **settings)

    monkeypatch.setattr(clips, "open", full, raising=False)
    status, out, err = run(capsys, *small("a.mp4", weights=weights))
    assert (status, out) == (1, "")
    assert err == "tinymaskrcnn: out/a_predicted.mp4: No space left on device\n"
    assert os.listdir("out") == []
