"""`python -m lessons.ablations NAME --steps N --seeds S ...`: train a variant, write NAME.json."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tinymaskrcnn.datasets import ToyShapes
from tinymaskrcnn.jit import set_threads
from tinymaskrcnn.models.builders import build
from tinymaskrcnn.training import Trainer
from tinymaskrcnn.training.recipes import named

from . import FOLDER
from .variants import VARIANTS

MODEL = {  # 128-pixel images are not enlarged; regions are 3 to 7 cells wide on their level
    "builder": "maskrcnn_tiny",
    "num_classes": 4,
    "min_size": 128,
    "max_size": 128,
    "anchor_sizes": [12, 24, 48, 96, 192],
    "canonical_scale": 56,
}
FIGURES = ("AP", "AP50", "AP75")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lessons.ablations", description=__doc__)
    parser.add_argument("name", choices=VARIANTS)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    set_threads(options.threads)
    runs = [train(options.name, options.steps, seed) for seed in options.seeds]
    seeds = " ".join(map(str, options.seeds))
    record = {
        "command": f"python -m lessons.ablations {options.name} --steps {options.steps} "
        f"--seeds {seeds} --threads {options.threads}",
        "settings": MODEL,
        "runs": runs,
    }
    text = json.dumps(record, indent=1) + "\n"
    (FOLDER / f"{options.name}.json").write_text(text, encoding="utf-8")


def train(name: str, steps: int, seed: int) -> dict[str, Any]:
    """One run: its figures on 200 images that no run trains on."""
    model = build({**MODEL, "seed": seed})
    VARIANTS[name](model)
    recipe = replace(
        named("shapes"), steps=steps, seed=seed, checkpoint_every=0, sample_every=0, explain_pages=0
    )
    data = ToyShapes(1_000_000, seed=seed), ToyShapes(200, split="val")
    with tempfile.TemporaryDirectory() as folder:
        result = Trainer(model, *data, recipe, folder, show_progress=False).run()
    figures = {kind: _rounded(result[kind]) for kind in ("bbox", "segm")}
    return {"seed": seed, **figures, "seconds": result["seconds"]}


def _rounded(figures: Mapping[str, Any]) -> dict[str, float]:
    return {name: round(float(figures[name]), 4) for name in FIGURES}


if __name__ == "__main__":
    main()
