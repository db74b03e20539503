"""`tinymaskrcnn convert`: annotations of other tools as COCO json."""

from __future__ import annotations

import argparse
import json
import logging
from collections import Counter
from collections.abc import Container, Hashable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..datasets.formats import (
    UNREADABLE,
    AnnotatedImage,
    Annotations,
    Options,
    as_coco_json,
    read,
)
from ..datasets.issues import LEFT_OUT, by_kind, examples
from ..errors import InputError
from ..files import check_output, identities, write_atomic
from .options import output_file
from .tables import counted, say

logger = logging.getLogger(__name__)


def add(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "SOURCE is a COCO, VIA (1 or 2) or labelme json, a folder that holds one or holds labelme "
        "jsons, or a folder of masks: ID/masks/*.png for each image; or one image of instance ids "
        "for each, NAME.png in masks/ beside images/, or NAME_mask.png beside NAME. Boxes and "
        "areas are computed from the masks. What cannot be converted is named and left out; if "
        "that is a file that cannot be read, the status is 1."
    )
    parser.add_argument("source", metavar="SOURCE", help="a file or a folder")
    parser.add_argument("--out", metavar="JSON", required=True, help="the file to write")
    parser.add_argument(
        "--format",
        choices=("coco", "via", "labelme", "masks"),
        help="the format of SOURCE, if it is not recognised",
    )
    parser.add_argument(
        "--images", metavar="DIR", help="where the images are, if not where SOURCE says"
    )
    parser.add_argument(
        "--class",
        dest="class_name",
        metavar="NAME",
        help="the class of objects that have none (default: object)",
    )
    parser.add_argument(
        "--class-attribute",
        metavar="NAME",
        help="which attribute of a VIA region is its class, if there are several",
    )
    parser.add_argument(
        "--split", action="store_true", help="make each separate piece of a mask an object"
    )
    parser.add_argument(
        "--no-crowds",
        action="store_true",
        help="turn crowds (iscrowd 1), which is how brush tools write masks, into ordinary objects",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace the file if it exists, unless it is one of those being converted",
    )
    parser.add_argument(
        "--strict", action="store_true", help="write nothing if anything would be left out"
    )


def run(options: argparse.Namespace) -> int:
    source, out = Path(options.source), output_file("--out", options.out)
    check_output(out, identities([source]), None, options.force)
    settings = Options(
        Path(options.images) if options.images else None,
        options.class_name,
        options.class_attribute,
        options.split,
    )
    annotations = read(source, options.format, settings)
    if options.no_crowds:
        annotations = without_crowds(annotations)
    inputs = identities([source, *annotations.read, *(p.file for p in annotations.images)])
    annotations = with_images_placed(annotations, out, inputs, options.force)
    content = as_coco_json(annotations, out.parent)
    report(source, annotations)
    if options.strict and annotations.issues:
        raise InputError(f"{source}: nothing is written, because of --strict")
    check_output(out, inputs, None, options.force)  # once more: reading may have taken long
    write_images(annotations)
    write_atomic(out, (json.dumps(content) + "\n").encode())
    say(f"{out}: {summary(content)}")
    return int(any(issue.kind == UNREADABLE for issue in annotations.issues))


def without_crowds(annotations: Annotations) -> Annotations:
    """Turn crowds into ordinary objects, which is what brush tools mean by them."""
    images = [
        replace(image, objects=[replace(thing, iscrowd=False) for thing in image.objects])
        for image in annotations.images
    ]
    return replace(annotations, images=images)


def with_images_placed(
    annotations: Annotations, out: Path, inputs: Container[Hashable], force: bool
) -> Annotations:
    """Give each image that came inside the annotations a file, in a folder beside `out`.

    Raises:
        InputError: there is such a file with another content, or it is an input.
    """
    folder = out.parent / f"{out.stem}_images"
    images: list[AnnotatedImage] = []
    taken: set[Path] = set()
    for image in annotations.images:
        if image.content is None:
            images.append(image)
            continue
        file = folder / image.file.name
        if file in taken:
            raise InputError(f"two images inside the annotations are called {file.name}")
        if not (file.is_file() and file.read_bytes() == image.content):
            check_output(file, inputs, None, force)
        taken.add(file)
        images.append(replace(image, file=file))
    return replace(annotations, images=images)


def write_images(annotations: Annotations) -> None:
    """Write the images that came inside the annotations."""
    inside = [image for image in annotations.images if image.content is not None]
    for image in inside:
        image.file.parent.mkdir(exist_ok=True)
        write_atomic(image.file, image.content or b"")
    if inside:
        count = counted(len(inside), "image")
        logger.info("%s from the annotations in %s", count, inside[0].file.parent)


def report(source: Path, annotations: Annotations) -> None:
    """Log one line per kind of thing that is left out, or may be meant differently."""
    for kind, some in by_kind(annotations.issues).items():
        what = "left out, " if some[0].level == LEFT_OUT else ""
        logger.warning("%s: %s%s (%d): %s", source, what, kind, len(some), examples(some, True))


def summary(content: dict[str, Any]) -> str:
    """Such as "11 images, 102 objects: date 40, fig 30, hazelnut 32"."""
    names = {entry["id"]: entry["name"] for entry in content["categories"]}
    counts = Counter(names[entry["category_id"]] for entry in content["annotations"])
    classes = ", ".join(f"{name} {count}" for name, count in counts.most_common())
    images, objects = (len(content[name]) for name in ("images", "annotations"))
    total = f"{counted(images, 'image')}, {counted(objects, 'object')}"
    return f"{total}: {classes}" if classes else total
