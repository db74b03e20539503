"""What a recipe makes of a data set: images kept as the model sees them, crops, augmentation."""

from __future__ import annotations

from typing import Any

from ..datasets.augment import Augmentation
from ..datasets.coco import CocoDataset
from ..datasets.kept import KeptImages
from ..datasets.loader import Loader
from ..datasets.named_dataset import NamedDataset
from ..models.mask_rcnn import MaskRCNN
from .recipes import Recipe


def loader_for(
    dataset: NamedDataset, model: MaskRCNN, recipe: Recipe, start_step: int, part: range
) -> Loader:
    """The batches of a run from a step on.

    Args:
        part: which places of each batch are made.
    """
    images = kept_images(dataset, model, recipe)
    augment = Augmentation(
        recipe.flip,
        recipe.vertical_flip,
        recipe.transpose,
        recipe.scale_jitter,
        recipe.colour_jitter,
        recipe.crop,
        recipe.copy_paste,
        images,
        recipe.crop_size,
        recipe.crop_on_object,
    )
    return Loader(
        images,
        recipe.batch_size,
        recipe.seed,
        augment,
        start_step,
        part=part,
        repeats=crops_to_cover(dataset, recipe),
    )


def kept_images(dataset: NamedDataset, model: MaskRCNN, recipe: Recipe) -> Any:
    """The training set; images from files are kept as the model sees them."""
    if not isinstance(dataset.samples, CocoDataset) or not isinstance(model, MaskRCNN):
        return dataset
    margin, memory = 1 / (1 - recipe.crop), recipe.image_memory * 2**30
    return KeptImages(dataset, model.transform.config, margin, bool(recipe.crop_size), memory)


def crops_to_cover(dataset: NamedDataset, recipe: Recipe) -> list[int] | None:
    """How many crops it takes to cover each image, if training takes crops of known images."""
    if not (recipe.crop_size and isinstance(dataset.samples, CocoDataset)):
        return None
    sizes = [(entry["height"], entry["width"]) for entry in dataset.samples.images]
    side = recipe.crop_size
    return [round(max(h / side, 1) * max(w / side, 1)) for h, w in sizes]
