"""`tinymaskrcnn predict`."""

from __future__ import annotations

import argparse
import contextlib
import errno
import logging
import os
from collections import Counter
from collections.abc import Container, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from ..datasets.images import (
    FOREIGN_SUFFIXES,
    SUFFIXES,
    page_count,
    read_image,
    unread,
)
from ..datasets.issues import ODD, Issue, by_kind, examples
from ..detection.detections import Detections
from ..errors import InputError, one_line
from ..exports import FORMATS, PredictedImage, Source, chosen
from ..files import check_output, identities, identity, mark, write_picture
from ..models.mask_rcnn import MaskRCNN
from ..models.pretrained import load_model, weights_path
from ..training.distributed import end_together, world
from ..viz.draw import draw_detections
from .machine import add_machine, prepare
from .options import (
    add_agnostic_nms,
    add_force,
    add_max_pixels,
    add_score,
    add_weights,
    output_folder,
    positive,
)
from .predictions import Outputs
from .tables import counted, say

logger = logging.getLogger(__name__)
LONGEST_STEM = 220  # bytes of a result's name before "_predicted": most systems allow 255 in all


def add(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Writes each image with its objects drawn on it, as DIR/NAME_predicted.png. Images that "
        "cannot be read are named and skipped; the status is then 1 (2 for a single file)."
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files or folders of them")
    add_weights(parser)
    add_score(parser, "leave out detections with a lower score (default: 0.5)")
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
        help="the same as --format coco: write DIR/predictions.json, COCO json with scores",
    )
    parser.add_argument(
        "--page",
        type=page,
        metavar="N",
        help='which page or frame of a file that has several: a number from 1, or "all" (default: '
        "the first); the results are then called NAME_pageN_predicted.png",
    )
    add_agnostic_nms(parser)
    add_force(parser)
    add_max_pixels(parser)
    add_machine(parser)


def page(text: str) -> int | str:
    """A page's number from 1, or "all"."""
    return text if text == "all" else positive(text)


def run(options: argparse.Namespace) -> int:
    group = world()
    with end_together(group), contextlib.ExitStack() as opened:
        with group.together():
            formats = chosen(options.format) if options.format else []
            if options.json and "coco" not in formats:
                formats.append("coco")
            files = image_files(options.images)
            changes = {"box_class_agnostic_nms": True} if options.agnostic_nms else {}
            model = load_model(options.weights, **changes)
            classes = model.classes
            out = output_folder("--out", options.out)
            read = identities([*files, weights_path(options.weights)])
            inputs = sources(files, options.page)
            names = partial(output_names, inputs)
            outputs = Outputs(formats, inputs, out, names, read, options.force)
            opened.enter_context(outputs)
            outputs.prepare(classes, group)
            prepare(options)
            model.to(options.device)
        pairs = list(zip(inputs, output_names(inputs, out), strict=True))
        work = Work(model, classes, read, options, outputs)
        used = [work.predict(*pair) for pair in pairs[group.rank :: group.size]]
        outputs.finish(classes, group)
        failures = sum(group.gathered(used.count(False)))
        counts = sum(group.gathered(work.counts), Counter[str]())
        more = [issue for part in group.gathered(work.unread) for issue in part]
    for kind, some in by_kind(more).items():
        logger.warning("%s (%d): %s", kind, len(some), examples(some, with_details=True))
    if options.format and group.leads:
        images = counted(len(inputs) - failures, "image")
        say(f"{images}: {kinds(counts)} -> {', '.join(outputs.places())}")
    from_folder = len(inputs) > 1 or any(os.path.isdir(given) for given in options.images)
    return status(len(inputs), failures, from_folder)


@dataclass(frozen=True)
class Work:
    """What is the same for all images.

    Attributes:
        read: `identities` of all files that are read.
        unread: what else the images hold, such as further pages, and what formats cannot hold.
        counts: objects by class.
    """

    model: MaskRCNN
    classes: Sequence[str]
    read: Container[Hashable]
    options: argparse.Namespace
    outputs: Outputs
    unread: list[Issue] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def predict(self, source: Source, target: Path) -> bool:
        """Detect the objects of an image, draw, print and keep them; whether that worked."""
        detections = self._drawn_or_logged(source, target)
        if detections is None:
            self.outputs.skip()
            return False
        found = class_counts(detections, self.classes)
        self.counts.update(found)
        say(f"{source}: {kinds(found)} -> {target}")
        return True

    def _drawn_or_logged(self, source: Source, target: Path) -> Detections | None:
        """The objects of an image, once all is written; None and a line in the log if it cannot be
        read, or a file of it cannot be written.
        """
        try:
            return self._drawn(source, target)
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
        image = read_image(source.path, self.model.in_channels, limit, source.page or 1)
        more = unread(source.path, page=source.page, max_pixels=limit)
        self.unread.extend(Issue(ODD, kind, str(source), detail) for kind, detail in more)
        (detections,) = self.model.detect([image])
        detections = detections[detections.scores >= self.options.score]
        picture = draw_detections(image, detections, self.classes, 0.0)
        write_picture(target, picture, mark("predict"), compress_level=3)
        found = PredictedImage(source, image, detections, self.classes, limit)
        self.outputs.add(found)
        lost = dict.fromkeys(found.lost)
        self.unread.extend(Issue(ODD, kind, str(source), detail) for kind, detail in lost)
        return detections


def status(total: int, failures: int, of_many: bool) -> int:
    """0 if all images could be read and drawn; if not, 1 for a folder or several, 2 for one."""
    if not failures:
        return 0
    if of_many and world().leads:
        logger.error("%d of %d images could not be read or drawn", failures, total)
    return 1 if of_many else 2


def image_files(given: Iterable[str]) -> list[Path]:
    """Files as they are; of folders all files that are named as images, sorted, even those of kinds
    that cannot be read, so that none is skipped in silence. Raises InputError for a folder without.
    """
    paths: list[Path] = []
    for path in map(Path, given):
        if not os.path.isdir(path):  # Path.is_dir raises for names that are too long
            paths.append(path)
            continue
        known = SUFFIXES | FOREIGN_SUFFIXES
        inside = sorted(file for file in path.iterdir() if file.suffix.lower() in known)
        if not inside:
            raise InputError(f"{path}: no images in this folder ({', '.join(sorted(SUFFIXES))})")
        paths += inside
    return list(dict.fromkeys(paths))


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
