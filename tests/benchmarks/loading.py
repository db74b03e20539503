"""What loading and augmenting cost beside the network's step: `python -m tests.benchmarks.loading`.

Two data sets are made: microscope images of 520 x 696 with 150 nuclei, and photos of 1600 x 1200
with three objects. `train` chooses the settings for each. Milliseconds of processor time per image,
on one thread, with the recipe `small` and all that it can add: to read an image for the first time,
to make it ready for a step once it is kept, to read it again in each step if none is kept, and
forward and backward through the network.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
from PIL import Image

from tinymaskrcnn.datasets import Augmentation, CocoDataset, Loader
from tinymaskrcnn.datasets.kept import KeptImages
from tinymaskrcnn.datasets.named_dataset import NamedDataset
from tinymaskrcnn.datasets.run_lengths import as_text, rles_from_masks
from tinymaskrcnn.detection.cropped_masks import CroppedMasks
from tinymaskrcnn.jit import set_threads
from tinymaskrcnn.models.builders import build
from tinymaskrcnn.training import choices
from tinymaskrcnn.training.recipes import Recipe, named

KINDS: dict[str, dict[str, Any]] = {
    "microscope": {"size": (520, 696), "count": 150, "radius": (6, 14)},
    "photos": {"size": (1200, 1600), "count": 3, "radius": (120, 260)},
}
IMAGES, BATCH, STEPS, ROUNDS = 8, 8, 3, 3
EVERYTHING = {"vertical_flip": 0.5, "transpose": 0.5, "copy_paste": 0.5, "crop": 0.3}


def main() -> None:
    set_threads(1)
    print("| ms per image | first | ready | all augmentations | nothing kept | network | share |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, kind in KINDS.items():
            path = write_set(Path(folder) / name, **kind)
            print(f"| {name} | {' | '.join(measured(CocoDataset(path)))} |", flush=True)


def measured(dataset: CocoDataset) -> list[str]:
    """The cells of one row."""
    recipe = named("small")
    recipe = choices.apply(recipe, choices.choose(recipe, choices.measure(dataset), set()))
    model = build({"builder": recipe.model, "num_classes": 2, **recipe.model_settings})
    first = milliseconds(lambda step: kept_images(dataset, recipe, model)[step % IMAGES], 1)
    loader = loader_of(dataset, recipe, model)
    ready = milliseconds(loader.batch, BATCH)
    everything = milliseconds(loader_of(dataset, replace(recipe, **EVERYTHING), model).batch, BATCH)
    again = milliseconds(loader_of(dataset, recipe, model, memory=0).batch, BATCH)
    batch = loader.batch(0)
    model.train()

    def step(number: int) -> None:
        rng = np.random.default_rng(number)
        losses = model(batch.images, batch.targets, rng.spawn(BATCH))
        sum(losses.values()).backward()

    network = milliseconds(step, BATCH)
    numbers = [f"{value:.1f}" for value in (first, ready, everything, again, network)]
    return [*numbers, f"{ready / network:.0%}"]


def kept_images(dataset: CocoDataset, recipe: Recipe, model: Any, memory: float = 2**30) -> Any:
    margin, crops = 1 / (1 - recipe.crop), bool(recipe.crop_size)
    config = model.transform.config
    return KeptImages(NamedDataset(dataset, 1), config, margin, crops, memory)


def loader_of(dataset: CocoDataset, recipe: Recipe, model: Any, memory: float = 2**30) -> Loader:
    images = kept_images(dataset, recipe, model, memory)
    names = ("flip", "vertical_flip", "transpose", "scale_jitter", "colour_jitter", "crop")
    names += ("copy_paste", "crop_size")
    settings = {name: getattr(recipe, name) for name in names}
    return Loader(images, BATCH, 0, Augmentation(**settings, partners=images))


def milliseconds(call: Any, images: int) -> float:
    """The least processor time of several rounds, per image; after a call that is not counted."""
    call(0)
    times = []
    for _ in range(ROUNDS):
        start = process_time()
        for step in range(STEPS):
            call(step)
        times.append(1000 * (process_time() - start) / STEPS / images)
    return min(times)


def write_set(folder: Path, size: tuple[int, int], count: int, radius: tuple[int, int]) -> Path:
    """Write images of ellipses and their COCO json, whose path is returned."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    images: list[dict] = []
    annotations: list[dict] = []
    for number in range(1, IMAGES + 1):
        owner = ellipses(rng, size, count, radius)
        grey = np.concatenate([[20], rng.uniform(60, 200, count)])[owner] + rng.normal(0, 4, size)
        name = f"{number}.{'jpg' if count < 10 else 'png'}"
        tint = rng.uniform(0.5, 1, 3) if name.endswith("jpg") else np.ones(3)
        pixels = np.clip(grey[..., None] * tint, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / name)
        images.append({"id": number, "file_name": name, "height": size[0], "width": size[1]})
        masks = CroppedMasks.of(owner == np.unique(owner)[1:, None, None])
        rows = zip(masks.boxes(), masks.areas(), rles_from_masks(masks), strict=True)
        annotations += [
            {
                "id": len(annotations) + k,
                "image_id": number,
                "category_id": 1,
                "bbox": [float(v) for v in (*box[:2], *(box[2:] - box[:2]))],
                "area": float(area),
                "segmentation": as_text(rle),
                "iscrowd": 0,
            }
            for k, (box, area, rle) in enumerate(rows, start=1)
        ]
    content = {"images": images, "annotations": annotations}
    content["categories"] = [{"id": 1, "name": "ellipse"}]
    path = folder / "train.json"
    path.write_text(json.dumps(content))
    return path


def ellipses(
    rng: np.random.Generator, size: tuple[int, int], count: int, radius: tuple[int, int]
) -> np.ndarray:
    """The number of the ellipse that each pixel shows, 0 for none (H, W)."""
    owner = np.zeros(size, np.int64)
    rows, columns = np.ogrid[: size[0], : size[1]]
    for number in range(1, count + 1):
        y, x = rng.uniform(0, size[0]), rng.uniform(0, size[1])
        a, b = rng.uniform(*radius, 2)
        owner[((rows - y) / a) ** 2 + ((columns - x) / b) ** 2 <= 1] = number
    return owner


if __name__ == "__main__":
    main()
