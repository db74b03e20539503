"""`tinymaskrcnn predict`."""

from __future__ import annotations

import argparse
import contextlib
import errno
import logging
import os
import sys
from collections import Counter
from collections.abc import Callable, Container, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..datasets.images import (
    FOREIGN_SUFFIXES,
    SUFFIXES,
    page_count,
    read_compact,
    unread,
)
from ..datasets.issues import ODD, Issue, by_kind, examples
from ..datasets.stretch import Stretch
from ..detection.detections import Detections
from ..errors import InputError, one_line
from ..exports import FORMATS, PredictedImage, Source, chosen
from ..files import check_output, identities, identity, mark, write_image
from ..models.any_size import View, detect_in, lost, view_of
from ..models.mask_rcnn import MaskRCNN
from ..models.pretrained import weights_path
from ..training.distributed import end_together, world
from ..video.clips import SUFFIXES as VIDEO_SUFFIXES
from ..video.clips import is_clip
from ..viz.draw import draw_detections
from .clips import CLIP_TABLES, ClipWork
from .machine import add_machine, prepare
from .options import (
    add_agnostic_nms,
    add_force,
    add_max_pixels,
    add_score,
    add_stretch,
    add_view,
    add_weights,
    model_of,
    output_folder,
    positive,
    settings_help,
)
from .predictions import Outputs
from .tables import counted, say

logger = logging.getLogger(__name__)
Result = TypeVar("Result")
LONGEST_STEM = 220  # bytes of a result's name before "_predicted": most systems allow 255 in all


def add(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Writes each image with its objects drawn on it, as DIR/NAME_predicted.png, and each video "
        "as DIR/NAME_predicted.mp4, in which an object keeps its number and its colour. Files that "
        "cannot be read are named and skipped; the status is then 1 (2 for a single file). Videos "
        "need PyAV: pip install 'tinymaskrcnn[video]'."
    )
    parser.add_argument(
        "images", nargs="+", metavar="IMAGE", help="image and video files, or folders of them"
    )
    add_weights(parser)
    add_score(parser, "leave out detections with a lower score (default: 0.5)")
    add_view(parser)
    parser.add_argument(
        "--out",
        metavar="DIR",
        default="predictions",
        help="folder for the results (default: predictions)",
    )
    parser.add_argument(
        "--format",
        metavar="NAMES",
        help="also write the objects for other tools, into a folder or file of their own in DIR; "
        f"NAMES are some of these, with commas between: {', '.join(FORMATS)}",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="the same as --format coco: write DIR/predictions.json, COCO json with scores; for "
        "each video DIR/NAME_predicted.json, with frame, time and track_id",
    )
    parser.add_argument(
        "--csv",
        action="store_true",
        help="the same as --format csv: write DIR/measurements.csv, a row per object; for each "
        "video DIR/NAME_predicted.csv",
    )
    parser.add_argument(
        "--every",
        type=positive,
        metavar="N",
        help="of a video, use only the first of every N frames",
    )
    parser.add_argument(
        "--no-track",
        action="store_true",
        help="do not follow the objects of a video from frame to frame",
    )
    parser.add_argument(
        "--page",
        type=page,
        metavar="N",
        help='which page or frame of a file that has several: a number from 1, or "all" (default: '
        "the first); the results are then called NAME_pageN_predicted.png",
    )
    add_agnostic_nms(parser)
    add_stretch(parser, "as the model was trained")
    add_force(parser)
    add_max_pixels(parser)
    add_machine(parser)


def page(text: str) -> int | str:
    """A page's number from 1, or "all"."""
    return text if text == "all" else positive(text)


def run(options: argparse.Namespace) -> int:
    group = world()
    if (lines := settings_help(options)) is not None:
        for line in lines:
            say(line)
        return 0
    with end_together(group), contextlib.ExitStack() as opened:
        with group.together():
            formats = formats_of(options)
            given = image_files(options.images)
            clips = [path for path in given if is_clip(path)]
            files = [path for path in given if not is_clip(path)]
            check_video_options(options, formats, clips)
            model = model_of(options)
            classes = model.classes
            out = output_folder("--out", options.out)
            read = identities([*given, weights_path(options.weights)])
            inputs = sources(files, options.page)
            names = partial(output_names, inputs)
            outputs = Outputs(formats if files else [], inputs, out, names, read, options.force)
            opened.enter_context(outputs)
            outputs.prepare(classes, group)
            prepare(options)
            model.to(options.device)
        pairs = list(zip(inputs, output_names(inputs, out), strict=True))
        stretch = Stretch(model.transform.config.stretch)
        work = Work(model, classes, read, options, outputs, stretch)
        used = [work.predict(*pair) for pair in pairs[group.rank :: group.size]]
        targets = output_names([Source(path) for path in clips], out, "_predicted.mp4")
        mine = slice(group.rank, None, group.size)
        used += map(work.predict_clip, clips[mine], targets[mine])
        outputs.finish(classes, group)
        failures = sum(group.gathered(used.count(False)))
        counts = sum(group.gathered(work.counts), Counter[str]())
        more = [issue for part in group.gathered(work.unread) for issue in part]
    for kind, some in by_kind(more).items():
        logger.warning("%s (%d): %s", kind, len(some), examples(some, with_details=True))
    if options.format and files and group.leads:
        images = counted(len(inputs) - failures, "image")
        say(f"{images}: {kinds(counts)} -> {', '.join(outputs.places())}")
    count = len(inputs) + len(clips)
    from_folder = count > 1 or any(os.path.isdir(given) for given in options.images)
    return status(count, failures, from_folder, "files" if clips else "images")


def formats_of(options: argparse.Namespace) -> list[str]:
    """The formats of `--format`, `--json` and `--csv`."""
    formats = chosen(options.format) if options.format else []
    given = {"coco": options.json, "csv": options.csv}
    return formats + [name for name, wanted in given.items() if wanted and name not in formats]


@dataclass(frozen=True)
class Work:
    """What is the same for all images.

    Attributes:
        read: `identities` of all files that are read.
        unread: what else the images hold, such as further pages, what formats cannot hold, and what
            may be lost.
        counts: objects by class.
    """

    model: MaskRCNN
    classes: Sequence[str]
    read: Container[Hashable]
    options: argparse.Namespace
    outputs: Outputs
    stretch: Stretch
    unread: list[Issue] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def predict(self, source: Source, target: Path) -> bool:
        """Detect the objects of an image, draw, print and keep them; whether that worked."""
        detections = self._tried(lambda: self._drawn(source, target), source, target)
        if detections is None:
            self.outputs.skip()
            return False
        found = class_counts(detections, self.classes)
        self.counts.update(found)
        say(f"{source}: {kinds(found)} -> {target}")
        return True

    def predict_clip(self, path: Path, target: Path) -> bool:
        """Detect, draw and write the objects of a video; whether that worked."""
        options = self.options
        formats = formats_of(options)
        work = ClipWork(
            lambda frame: self._detected(self.stretch(frame, path)),
            self.model.in_channels,
            self.classes,
            self.read,
            options.force,
            options.max_pixels,
            options.every or 1,
            not options.no_track,
            [CLIP_TABLES[name] for name in formats],
            world().leads,
        )
        return bool(self._tried(lambda: work.predict(path, target), Source(path), target))

    def _tried(self, work: Callable[[], Result], source: Source, target: Path) -> Result | None:
        """What the work returns; None and a line in the log if its file cannot be read or its
        result cannot be written.
        """
        try:
            return work()
        except InputError as problem:
            logger.error("%s", problem)
        except MemoryError:
            logger.error("%s: not enough memory for this image", source)
        except OSError as problem:
            if problem.errno in (errno.ENOSPC, errno.EDQUOT):  # no other image would fare better
                raise
            logger.error("%s", one_line(f"{problem.filename or target}: {problem.strerror}"))
        return None

    def _drawn(self, source: Source, target: Path) -> Detections:
        check_output(target, self.read, mark("predict"), self.options.force)
        self.outputs.check(source)
        limit = self.options.max_pixels
        image = read_compact(source.path, self.model.in_channels, limit, source.page or 1)
        image = self.stretch.compact(image, source)
        more = unread(source.path, page=source.page, max_pixels=limit)
        self.unread.extend(Issue(ODD, kind, str(source), detail) for kind, detail in more)
        view = self._view(image)
        detections = self._detected(image, view, progress=sys.stderr.isatty())
        reasons = lost(self.model, view, len(detections), self.options.score)
        self.unread.extend(Issue(ODD, kind, str(source), detail) for kind, detail in reasons)
        drawn = draw_detections(image.as_bytes(), detections, self.classes, 0.0)
        write_image(target, drawn, mark("predict"), compress_level=3)
        found = PredictedImage(source, image, detections, self.classes, limit)
        self.outputs.add(found)
        missing = dict.fromkeys(found.lost)
        self.unread.extend(Issue(ODD, kind, str(source), detail) for kind, detail in missing)
        return detections

    def _view(self, image: Any) -> View:
        return view_of(self.model, image.shape[1:], self.options.tile, self.options.max_objects)

    def _detected(self, image: Any, view: View | None = None, progress: bool = False) -> Detections:
        """The objects of an image, or of a video's frame, that have the wanted score."""
        found = detect_in(self.model, image, view or self._view(image), progress)
        return found[found.scores >= self.options.score]


def check_video_options(
    options: argparse.Namespace, formats: Sequence[str], clips: Sequence[Path]
) -> None:
    """Raises InputError for an option that would do nothing without a video, or a format that is
    not for videos.
    """
    for name, value in {"--every": options.every, "--no-track": options.no_track}.items():
        if value and not clips:
            raise InputError(f"{name}: this is for videos, and there is none among the files")
    for name in formats:
        if clips and name not in CLIP_TABLES:
            raise InputError(
                f"--format {name}: not for videos ({clips[0]}); expected {' or '.join(CLIP_TABLES)}"
            )


def status(total: int, failures: int, of_many: bool, things: str = "images") -> int:
    """0 if all files could be read and drawn; if not, 1 for a folder or several, 2 for one."""
    if not failures:
        return 0
    if of_many and world().leads:
        logger.error("%d of %d %s could not be read or drawn", failures, total, things)
    return 1 if of_many else 2


def image_files(given: Iterable[str]) -> list[Path]:
    """Files as they are; of folders all files that are named as images or videos, sorted, even
    those of kinds that cannot be read, so that none is skipped in silence. Raises InputError for a
    folder without.
    """
    paths: list[Path] = []
    for path in map(Path, given):
        if not os.path.isdir(path):  # Path.is_dir raises for names that are too long
            paths.append(path)
            continue
        known = SUFFIXES | FOREIGN_SUFFIXES | VIDEO_SUFFIXES
        inside = sorted(file for file in path.iterdir() if file.suffix.lower() in known)
        if not inside:
            raise InputError(
                f"{path}: no images or videos in this folder ({', '.join(sorted(SUFFIXES))})"
            )
        paths += without_unreadable_videos(path, inside)
    return list(dict.fromkeys(paths))


def without_unreadable_videos(folder: Path, files: list[Path]) -> list[Path]:
    """The files of a folder, but no videos if there are images and PyAV is missing: the log says so
    once, not for each of them.
    """
    images = [path for path in files if not is_clip(path)]
    if images and len(images) < len(files) and find_spec("av") is None:
        count = counted(len(files) - len(images), "video")
        logger.warning("%s: left out, %s: pip install 'tinymaskrcnn[video]'", folder, count)
        return images
    return files


def sources(files: Sequence[Path], page: int | str | None) -> list[Source]:
    """The images of these files: the first page of each, this page of each, or "all"."""
    if page is None:
        return [Source(path) for path in files]
    found: list[Source] = []
    for path in files:
        count = page_count(path)
        if count == 1 and page in (1, "all"):
            found.append(Source(path))
        else:
            pages = range(1, count + 1) if page == "all" else [page]
            found += [Source(path, int(number)) for number in pages]
    return found


def output_names(inputs: Sequence[Source], out: Path, ending: str = "_predicted.png") -> list[Path]:
    """One file per input: no two the same, even if case does not count, and none an input.

    Args:
        ending: what follows the image's name.
    """
    before, _, suffix = ending.rpartition(".")
    read = identities(path for path, _ in inputs)
    taken = {place(path) for path, _ in inputs}  # even files that do not exist
    names = []
    for path, page in inputs:
        stem = path.stem
        while len(os.fsencode(stem)) > LONGEST_STEM:
            stem = stem[:-1]
        stem += f"_page{page}" if page else ""
        number, target = 1, out / f"{stem}{ending}"
        while place(target) in taken or identity(target) in read:
            number += 1
            target = out / f"{stem}{before}-{number}.{suffix}"
        taken.add(place(target))
        names.append(target)
    return names


def place(path: Path) -> str:
    """Equal for names of the same file, even if case does not count."""
    return os.path.realpath(path).casefold()  # Path.resolve raises where links circle


def class_counts(detections: Detections, classes: Sequence[str]) -> dict[str, int]:
    """How many objects there are of each class that occurs, in label order."""
    labels, counts = np.unique(detections.labels, return_counts=True)
    return {classes[label - 1]: int(n) for label, n in zip(labels, counts, strict=True)}


def kinds(counts: Mapping[str, int]) -> str:
    """Such as "3 objects (square 2, circle 1)"."""
    each = ", ".join(f"{name} {count}" for name, count in counts.items())
    return f"{sum(counts.values())} objects" + (f" ({each})" if each else "")
