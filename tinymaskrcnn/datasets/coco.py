"""Images and objects from a COCO json file.

It reads polygons, compressed and uncompressed RLE, crowds, category ids with gaps, and images
without objects. Masks are kept as RLE, and a target holds crops of them. A file that contradicts
itself is refused. Objects that cannot be trained on are left out, with a warning and a count
(`dataset.skipped`). Data that is odd but usable is kept, with a warning. `tinymaskrcnn check-data`
lists all findings.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..models.inputs import Target
from .coco_file import CocoFile
from .coco_objects import BAD_BOX
from .images import MAX_PIXELS, image_size, read_image, unread
from .issues import LEFT_OUT, ODD, REFUSED, Issue, by_kind, examples
from .large_files import LazyObjects
from .run_lengths import masks_from_rles
from .stretch import Stretch

logger = logging.getLogger(__name__)


class CocoDataset:
    """The images of one COCO json file, in file order.

    `dataset[i]` is (image float32 (channels, H, W) in 0..1, target). `targets.py` describes the
    target; its boxes are those of the file, clipped to the image. Objects are left out, with a
    warning, if they have no segmentation, or one that covers no pixel, has fewer than three points,
    lies far outside the image, or lies elsewhere than its box. In a file with more than
    `large_files.LARGE` objects, the masks of an image are read, and such objects found, when the
    image is asked for.

    Args:
        images_dir: the folder of the images; by default `images/` beside the json, then the json's
            own.
        channels: 3 for RGB (grey images become grey RGB), 1 for grey.
        classes: names in label order, when the labels must match another set's. By default the
            categories, in the order of their ids, become labels 1..K. `category_ids[k - 1]` is the
            id of label k in the file.
        stretch: how grey images are stretched (see stretch.py).
        skip_bad_boxes: leave out boxes without area inside their image instead of raising.

    Raises:
        InputError: naming the file and the annotation: an unreadable json, missing fields,
            duplicate ids, objects of unknown images or categories, missing images, boxes without
            area inside their image.
    """

    def __init__(
        self,
        json_path: str | Path,
        images_dir: str | Path | None = None,
        channels: int = 3,
        classes: Sequence[str] | None = None,
        max_pixels: int = MAX_PIXELS,
        skip_bad_boxes: bool = False,
        stretch: str | Sequence[float] = "off",
    ):
        self.path, self.channels, self.max_pixels = Path(json_path), channels, max_pixels
        self.stretch = Stretch(stretch)
        file = CocoFile(json_path, images_dir, classes, max_pixels, lazy=True)
        refuse(file, skip_bad_boxes)
        self.classes, self.category_ids = file.classes, file.category_ids
        self.images, self.objects = file.images, file.objects
        self.files = [file.files[entry["id"]] for entry in self.images]
        self.skipped = left_out(file.issues)
        self._noted: dict[str, set] = {}  # by kind, the ids of objects that were read late
        warn(self.path, file.issues)
        if isinstance(self.objects, LazyObjects):
            self.objects.found = self._note
            logger.info(
                "%s: %d objects, whose masks are checked as they are read; tinymaskrcnn check-data "
                "checks them all at once",
                self.path,
                self.objects.counts.sum(),
            )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[np.ndarray, Target]:
        image = read_image(self.files[index], self.channels, self.max_pixels)
        self.check_size(index, image.shape[1:])
        return self.stretch(image, self.files[index]), self.target(index)

    def check_size(self, index: int, size: tuple[int, ...]) -> None:
        """Raise InputError unless image `index` has the height and width that the json states."""
        entry = self.images[index]
        if problem := wrong_size(self.path, entry, size):
            raise InputError(f"{self.files[index]}: {problem}")

    def check_images(self) -> None:
        """Open every image, check its size, and log once for each kind of content that is not read.

        Raises:
            InputError: for the first file that is not an image, or not of the size in the json.
        """
        more: list[Issue] = []
        for index, file in enumerate(self.files):
            self.check_size(index, image_size(file))
            found = unread(file, max_pixels=self.max_pixels)
            more += [Issue(ODD, kind, str(file), detail) for kind, detail in found]
        warn(self.path, more)

    def target(self, index: int) -> Target:
        """The target of image `index`, without reading the image."""
        entry = self.images[index]
        objects = self.objects[entry["id"]]
        rles, size = [thing["rle"] for thing in objects], (entry["height"], entry["width"])
        return {
            "boxes": np.array([o["box"] for o in objects], np.float32).reshape(-1, 4),
            "labels": np.array([o["label"] for o in objects], np.int64),
            "masks": masks_from_rles(rles, size),
            "area": np.array([o["area"] for o in objects], np.float32),
            "iscrowd": np.array([o["iscrowd"] for o in objects], bool),
            "image_id": entry["id"],
        }

    def _note(self, issues: list[Issue]) -> None:
        """Act on what is wrong with an object that is read late: warn of each kind once.

        Raises:
            InputError: its segmentation has the wrong form.
        """
        for issue in issues:
            if issue.level == REFUSED:
                raise InputError(f"{self.path}: {issue}")
            first = issue.kind not in self._noted
            known = self._noted.setdefault(issue.kind, set())
            if issue.level == LEFT_OUT and issue.annotation not in known:
                self.skipped.setdefault(issue.kind, []).append(issue.annotation)
            known.add(issue.annotation)
            if first:
                warn(self.path, [issue])

    def describe(self, index: int) -> str:
        """The file of image `index`, for messages."""
        return str(self.files[index])


def wrong_size(path: Path, entry: dict, size: tuple[int, ...]) -> str | None:
    """What is wrong with an image's size (height, width); None if it matches its entry."""
    stated = (entry["height"], entry["width"])
    if tuple(size) == stated:
        return None
    problem = f"the image is {size[1]} x {size[0]}, but {path} says {stated[1]} x {stated[0]}"
    swapped = "; are its sides swapped by an EXIF orientation?" if size == stated[::-1] else ""
    return problem + swapped


def refuse(file: CocoFile, skip_bad_boxes: bool) -> None:
    """Raise InputError for the first issue that rules out training."""
    reasons = [
        issue
        for issue in file.issues
        if issue.level == REFUSED or (issue.kind == BAD_BOX and not skip_bad_boxes)
    ]
    if len(reasons) == 1:
        raise InputError(f"{file.path}: {reasons[0]}")
    if reasons:
        hint = f"and {len(reasons) - 1} more issues; tinymaskrcnn check-data lists them"
        raise InputError(f"{file.path}: {reasons[0]} ({hint})")


def left_out(issues: list[Issue]) -> dict[str, list[Any]]:
    """The ids of the annotations that are not used, by reason."""
    unusable = by_kind(issue for issue in issues if issue.level == LEFT_OUT)
    return {kind: [issue.annotation for issue in some] for kind, some in unusable.items()}


def warn(path: Path, issues: list[Issue]) -> None:
    """Log one line for each kind of object that is left out, or kept although it is odd."""
    for kind, some in by_kind(issues).items():
        if some[0].level == LEFT_OUT:
            logger.warning(
                "%s: left out %d object(s), %s: %s", path, len(some), kind, examples(some)
            )
        elif some[0].level == ODD:
            logger.warning("%s: %s (%d): %s", path, kind, len(some), examples(some))
