"""What `tinymaskrcnn check-data` finds wrong with a COCO json: issues of the file itself and of
its images, which are read one by one, and images that it shares with another set.

Nothing is printed or drawn here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .coco import wrong_size
from .coco_file import CocoFile, image_name
from .images import MAX_PIXELS, read_image, unread
from .issues import ODD, REFUSED, Issue, brief

CROWDS = 0.1  # warn when at least this share of the objects are crowds


@dataclass
class CheckedSet:
    """A data set and everything that is wrong with it.

    `digests` maps the id of each readable image to a digest of its pixels: equal digests mean equal
    images.
    """

    file: CocoFile
    issues: list[Issue]
    digests: dict[Any, bytes]


def check_set(
    path: str | Path,
    images_dir: str | Path | None = None,
    classes: Sequence[str] | None = None,
    max_pixels: int = MAX_PIXELS,
    progress: Callable[[Iterable], Iterable] = iter,
) -> CheckedSet:
    """Read a COCO json and every image it lists.

    Args:
        classes: the training set's class names, when this is another set.
        progress: wraps the iteration over images, to show a progress bar.

    Raises:
        InputError: the file is not COCO json at all.
    """
    file = CocoFile(path, images_dir, classes, max_pixels)
    issues, digests = list(file.issues), {}
    if not file.images:
        issues.append(Issue(REFUSED, "no images", "images", "there are none that can be used"))
    issues += crowds(file)
    if classes is None:  # a set that is not trained on may lack some of them
        issues += classes_without_objects(file)
    for entry in progress([entry for entry in file.images if entry["id"] in file.files]):
        where, id_ = image_name(entry), entry["id"]
        try:
            image = read_image(file.files[id_], max_pixels=max_pixels)
        except InputError as problem:
            detail = str(problem).removeprefix(f"{file.files[id_]}: ")
            kind = "images that cannot be read"
            issues.append(Issue(REFUSED, kind, where, detail, image=id_))
            continue
        if wrong := wrong_size(file.path, entry, image.shape[1:]):
            kind = "images whose size differs from the json's"
            issues.append(Issue(REFUSED, kind, where, wrong, image=id_))
        found = unread(file.files[id_], max_pixels=max_pixels)
        issues += [Issue(ODD, kind, where, detail, image=id_) for kind, detail in found]
        digests[id_] = digest(image)
    return CheckedSet(file, issues + duplicate_images(file, digests), digests)


def crowds(file: CocoFile) -> list[Issue]:
    """A warning if many objects are crowds, because nothing is learned from crowds."""
    flags = [thing["iscrowd"] for things in file.objects.values() for thing in things]
    count, hint = sum(flags), "convert --no-crowds makes them ordinary objects"
    if count and count == len(flags):
        kind = f"all {count} objects are crowds: nothing would be learned"
        return [Issue(REFUSED, kind, "annotations", hint)]
    if count > CROWDS * len(flags):
        kind = f"{count} of {len(flags)} objects are crowds, which training ignores"
        return [Issue(ODD, kind, "annotations", hint)]
    return []


def classes_without_objects(file: CocoFile) -> list[Issue]:
    """Categories without objects: the model would have an output for each, but no examples."""
    if not file.files:
        return []
    used = {thing["label"] for things in file.objects.values() for thing in things}
    parents = [entry.get("supercategory") for entry in file.categories.values()]
    roots = {parent for parent in parents if isinstance(parent, str)}
    issues = []
    for label, name in enumerate(file.classes, start=1):
        if label not in used:
            detail = brief(name)
            if name in roots:
                detail += "; a root, as Roboflow adds it: others name it as their supercategory"
            where = f"category {brief(file.category_ids[label - 1])}"
            issues.append(Issue(ODD, "categories without objects", where, detail))
    return issues


def digest(image: np.ndarray) -> bytes:
    """A digest of the pixels: files may differ although their images are equal."""
    return hashlib.blake2b(image.data, key=str(image.shape).encode(), digest_size=16).digest()


def duplicate_images(file: CocoFile, digests: dict[Any, bytes]) -> list[Issue]:
    """Images whose pixels equal those of an earlier file of the same set."""
    entries = {entry["id"]: entry for entry in file.images}
    first: dict[bytes, Any] = {}
    issues = []
    for id_, value in digests.items():
        other = first.setdefault(value, id_)
        if entries[other]["file_name"] != entries[id_]["file_name"]:
            detail = f"as {entries[other]['file_name']}"
            kind = "identical images in the set"
            issues.append(Issue(ODD, kind, image_name(entries[id_]), detail, image=id_))
    return issues


def leaks(checked: CheckedSet, other: CheckedSet) -> list[Issue]:
    """Images that also occur in the other set, which makes its scores too good."""
    names = {entry["id"]: entry["file_name"] for entry in other.file.images}
    theirs = {value: names[id_] for id_, value in other.digests.items()}
    kind = f"train/val leak: images that are also in {other.file.path}"
    return [
        Issue(ODD, kind, image_name(entry), f"as {theirs[value]}", image=entry["id"])
        for entry in checked.file.images
        if (value := checked.digests.get(entry["id"])) in theirs
    ]


def same_files(files: Sequence[Path], others: Sequence[Path]) -> list[Path]:
    """Those of `files` whose bytes equal those of a file in `others`.

    Only files of equal length are read.
    """
    by_length: dict[int, list[Path]] = {}
    for file in others:
        by_length.setdefault(file.stat().st_size, []).append(file)
    contents: dict[int, set[bytes]] = {}  # by length, of the others
    common = []
    for file in files:
        length = file.stat().st_size
        if length in by_length and length not in contents:
            contents[length] = {_content(other) for other in by_length[length]}
        if length in contents and _content(file) in contents[length]:
            common.append(file)
    return common


def _content(file: Path) -> bytes:
    return hashlib.blake2b(file.read_bytes()).digest()
