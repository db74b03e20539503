"""`tinymaskrcnn evaluate`."""

from __future__ import annotations

import argparse
import json
import sys

from ..datasets import CocoDataset, ToyShapes
from ..datasets.images import MAX_PIXELS
from ..datasets.outlines import OUTLINES
from ..errors import InputError
from ..evaluation import evaluate
from ..models.mask_rcnn import MaskRCNN
from ..parallel import shared_by
from ..training.distributed import end_together, world
from .loading import load_model
from .machine import prepare
from .report import figures_table
from .train import HELD_BACK


def run(options: argparse.Namespace) -> int:
    group = world()
    with end_together(group), shared_by(group):
        with group.together():
            model, dataset, classes = model_and_pictures(options)
            prepare(options)
        result = evaluate(model, dataset, progress=group.leads and sys.stderr.isatty())
    if group.leads:
        print(json.dumps(result, indent=2) if options.json else figures_table(result, classes))
    return 0


def model_and_pictures(
    options: argparse.Namespace,
) -> tuple[MaskRCNN, CocoDataset | ToyShapes, list[str]]:
    """The model, what to evaluate it on, and the classes. Raises InputError."""
    if options.images and not options.data:
        raise InputError("--images goes with --data")
    model, classes = load_model(options.weights)
    dataset: CocoDataset | ToyShapes
    if options.data:
        limit = options.max_pixels or MAX_PIXELS
        dataset = CocoDataset(options.data, options.images, model.in_channels, classes, limit)
    elif set(classes) <= set(OUTLINES):
        dataset = ToyShapes(HELD_BACK, split="val", classes=classes)
    else:
        raise InputError(
            f"{options.weights}: knows {', '.join(classes[:5])}, give --data with them"
        )
    return model, dataset, classes
