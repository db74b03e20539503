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
from .loading import load_model
from .machine import prepare
from .report import figures_table
from .train import HELD_BACK


def run(options: argparse.Namespace) -> int:
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
    prepare(options)
    model.to(options.device)
    result = evaluate(model, dataset, progress=sys.stderr.isatty())
    print(json.dumps(result, indent=2) if options.json else figures_table(result, classes))
    return 0
