"""What `predict` does with a video: its frames one after another, so that memory stays flat however
long it is.
"""

from __future__ import annotations

import contextlib
import csv
import json
import logging
import shutil
import sys
import tempfile
from collections.abc import Callable, Container, Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .. import rle_tools
from ..bars import tqdm
from ..datasets.images import to_array
from ..detection.detections import Detections
from ..evaluation.results import coco_results
from ..files import check_output, mark, replacing
from ..training.progress import Unhindered
from ..video.clips import Clip, Frame, writing
from ..video.tracking import Tracker
from ..viz.draw import draw_tracks
from .tables import say

logger = logging.getLogger(__name__)
COLUMNS = ("frame", "time", "track_id", "class", "score", "x", "y", "width", "height", "area")
CSV_MARK = ",".join(COLUMNS)  # a comment would disturb those who read the table


@dataclass(frozen=True)
class ClipWork:
    """What is the same for all clips.

    Attributes:
        detect: the objects in an image (C, H, W) float32 in 0..1.
        channels: of that image.
        read: `identities` of all files that are read.
        every: predict the first frame of so many.
        track: follow objects from frame to frame.
        tables: which tables to write beside the clip: ".json", ".csv".
        shown: whether there is a progress bar.
    """

    detect: Callable[[np.ndarray], Detections]
    channels: int
    classes: Sequence[str]
    read: Container[Hashable]
    force: bool
    max_pixels: int
    every: int = 1
    track: bool = True
    tables: Sequence[str] = ()
    shown: bool = True

    def predict(self, path: Path, target: Path) -> bool:
        """Detect, follow and draw the objects of a clip, and write the tables.

        Returns:
            Whether all of the clip could be read; if not, the log says so.

        Raises:
            InputError: the clip cannot be read, or a result would replace what it may not.
        """
        results = {suffix: target.with_suffix(suffix) for suffix in (".mp4", *self.tables)}
        for suffix, result in results.items():
            known = CSV_MARK if suffix == ".csv" else mark("predict")
            check_output(result, self.read, known, self.force)
        frames = objects = 0
        tracker = Tracker() if self.track else None
        with contextlib.ExitStack() as opened:
            clip = opened.enter_context(Clip(path, self.max_pixels))
            rows = [
                opened.enter_context(TABLES[suffix](results[suffix], path, self.classes))
                for suffix in self.tables
            ]
            add = opened.enter_context(writing(target, clip, mark("predict")))
            with self._bar(path, clip) as bar:
                for frame in clip.read(self.every):
                    found, numbers = self._found(frame, tracker)
                    drawn = draw_tracks(frame.pixels, found, numbers, self.classes)
                    add(frame, np.asarray(drawn))
                    results_of_frame = coco_results(found, 0) if rows else []
                    for add_rows in rows:
                        add_rows(frame, numbers, results_of_frame)
                    frames, objects = frames + 1, objects + len(found)
                    bar.update(min(self.every, (bar.total or 1 << 62) - bar.n))
        tracks = "" if tracker is None else f" of {tracker.count} tracks"
        say(f"{path}: {frames} frames, {objects} objects{tracks} -> {target}")
        if clip.damage:
            logger.error("%s: %s", path, clip.damage)
        return clip.damage is None

    def _found(self, frame: Frame, tracker: Tracker | None) -> tuple[Detections, np.ndarray | None]:
        """The objects of a frame, and the numbers of their tracks."""
        found = self.detect(to_array(Image.fromarray(frame.pixels), self.channels))
        if tracker is None:
            return found, None
        return found, tracker.update(found.boxes, found.labels, frame.time, found.image_size)

    def _bar(self, path: Path, clip: Clip) -> tqdm:
        watched = sys.stderr.isatty()
        pause = 0.2 if watched else 30
        return tqdm(
            file=Unhindered(),
            total=clip.frames,
            desc=path.name,
            unit="frame",
            disable=not self.shown,
            mininterval=pause,
            delay=pause,
            dynamic_ncols=watched,
            leave=False,
        )


AddRows = Callable[[Frame, np.ndarray | None, list[dict[str, Any]]], None]


@contextlib.contextmanager
def csv_table(target: Path, path: Path, classes: Sequence[str]) -> Iterator[AddRows]:
    """Write a row per object of each frame: see COLUMNS. Yields a function that adds a frame's."""
    with replacing(target) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)

        def add(frame: Frame, numbers: np.ndarray | None, results: list[dict[str, Any]]) -> None:
            for i, result in enumerate(results):
                number = "" if numbers is None else int(numbers[i])
                name = classes[result["category_id"] - 1]
                box = [round(side, 2) for side in result["bbox"]]
                start = (frame.number, round(frame.time, 6), number, name)
                rows.writerow((*start, round(result["score"], 4), *box, area(result)))

        yield add


@contextlib.contextmanager
def coco_table(target: Path, path: Path, classes: Sequence[str]) -> Iterator[AddRows]:
    """Write a COCO json in which each frame is an image, with its `frame` and `time`, and each
    annotation has a score and a `track_id`. Yields a function that adds a frame's objects.
    """
    with (
        replacing(target) as partial,
        open(partial, "w", encoding="utf-8") as file,
        tempfile.TemporaryFile("w+", dir=target.parent, encoding="utf-8") as images,
    ):
        file.write(f'{{"info": {{"description": "{mark("predict")}"}}, "annotations": [')
        count = 0

        def add(frame: Frame, numbers: np.ndarray | None, results: list[dict[str, Any]]) -> None:
            nonlocal count
            height, width = frame.pixels.shape[:2]
            image = {"id": frame.number + 1, "file_name": path.as_posix(), "frame": frame.number}
            image |= {"time": round(frame.time, 6), "width": width, "height": height}
            images.write(", " * (frame.number > 0) + json.dumps(image))
            for i, result in enumerate(results):
                count += 1
                more = {"id": count, "image_id": image["id"], "iscrowd": 0, "area": area(result)}
                more |= {} if numbers is None else {"track_id": int(numbers[i])}
                file.write(", " * (count > 1) + json.dumps(result | more))

        yield add
        file.write('], "images": [')
        images.seek(0)
        shutil.copyfileobj(images, file)
        categories = [{"id": k, "name": name} for k, name in enumerate(classes, start=1)]
        file.write(f'], "categories": {json.dumps(categories)}}}')


TABLES = {".json": coco_table, ".csv": csv_table}
CLIP_TABLES = {"coco": ".json", "csv": ".csv"}  # by the names of --format


def area(result: dict[str, Any]) -> float:
    """Pixels of an object's mask."""
    return float(rle_tools.area(result["segmentation"]))
