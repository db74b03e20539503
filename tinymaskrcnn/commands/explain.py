"""`tinymaskrcnn explain`."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

from ..datasets import CocoDataset
from ..datasets.images import MAX_PIXELS, read_image, unread
from ..errors import InputError
from ..files import check_output, identities, mark, write_atomic
from ..models.inputs import Target
from ..models.pretrained import load_model, weights_path
from ..viz.report import explain_page
from .machine import prepare
from .report import say

logger = logging.getLogger(__name__)


def run(options: argparse.Namespace) -> int:
    picture, out = Path(options.picture), output_file(options.out)
    limit = options.max_pixels or MAX_PIXELS
    model = load_model(options.weights)
    classes = model.classes
    image = read_image(picture, model.in_channels, limit, options.page or 1)
    for kind, detail in unread(picture, page=options.page, max_pixels=limit):
        logger.warning("%s: %s (%s)", picture, kind, detail)
    target, inputs = None, [picture, weights_path(options.weights)]
    if options.images and not options.targets:
        raise InputError("--images goes with --targets")
    if options.targets:
        dataset = CocoDataset(options.targets, options.images, classes=classes, max_pixels=limit)
        target = target_of(dataset, picture, image.shape[1:])
        inputs += [dataset.path, *dataset.files]
    check_output(out, identities(inputs), mark("explain"), options.force)
    prepare(options)
    page = explain_page(model, image, classes, target, picture.name)
    try:
        write_atomic(out, page.encode())
    except OSError as problem:
        raise InputError(f"--out {out}: {problem.strerror}") from problem
    say(f"{picture}: every stage -> {out} ({len(page) / 1e6:.1f} MB)")
    return 0


def output_file(name: str) -> Path:
    """Where the page goes, known to be writable as far as can be told before the work.

    Raises:
        InputError: its folder does not exist, or it is a folder itself.
    """
    path = Path(name)
    if path.is_dir():
        raise InputError(f"--out {name}: is a folder, expected a file such as report.html")
    if not path.parent.is_dir():
        raise InputError(f"--out {name}: there is no folder {path.parent}")
    return path


def target_of(dataset: CocoDataset, picture: Path, size: tuple[int, ...]) -> Target:
    """The objects that annotations give for a picture: found by its path, else by its file name.

    Raises:
        InputError: they do not know the picture, know several of that name, or say another size.
    """
    names = [file.name for file in dataset.files]
    same = [i for i, file in enumerate(dataset.files) if os.path.samefile(file, picture)]
    known = same or [i for i, name in enumerate(names) if name == picture.name]
    if not known:
        some = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        raise InputError(f"{dataset.path}: has no targets for {picture.name}, only for {some}")
    if len(known) > 1:
        raise InputError(f"{dataset.path}: has {len(known)} pictures named {picture.name}")
    dataset.check_size(known[0], size)
    return dataset.target(known[0])
