"""Numbers that go wrong in a real model: the report names the culprit; what is saved is finite."""

from dataclasses import replace

import numpy as np
import pytest

from tests.test_cli import SMALL
from tinymaskrcnn.datasets import ToyShapes
from tinymaskrcnn.errors import InputError, NonFiniteError
from tinymaskrcnn.models.builders import maskrcnn_tiny
from tinymaskrcnn.training import Recipe, Trainer
from tinymaskrcnn.training.checkpoint import load_newest

RECIPE = Recipe(steps=12, batch_size=2, checkpoint_every=1, sample_every=0, warmup_steps=0, ema=0.9)


class Images:
    """Six images of shapes; one pixel of one of them has this value."""

    classes = ("square", "circle", "triangle")

    def __init__(self, bad=None, value=0.0):
        self.shapes, self.bad, self.value = ToyShapes(6, size=64), bad, value

    def __len__(self):
        return len(self.shapes)

    def describe(self, index):
        return f"image_{index}.png"

    def __getitem__(self, index):
        image, target = self.shapes[index]
        if index == self.bad:
            image[0, 3, 3] = self.value
        return image, target


@pytest.mark.parametrize(
    ("images", "changes", "message"),
    [
        (Images(4, np.nan), {}, r"image_4\.png: .* expected finite numbers"),
        (Images(4, np.inf), {}, r"image_4\.png: .* expected finite numbers"),
        (Images(4, 3e38), {}, r"images that fail alone: image_4\.png; .*conv1"),
        (Images(), {"lr": 1e6}, r"gradients are not finite; .* learning rate 1e\+06"),
        (Images(), {"lr": 1e6, "clip_norm": 0.0}, r"step 2: .* learning rate 1e\+06"),
        (Images(), {"lr": 1e6, "optimizer": "muon"}, r"step 2: .* learning rate 1e\+06"),
        (Images(), {"lr": 3e38, "clip_norm": 0.0}, r"every image fails alone, so none"),
    ],
)
def test_the_culprit_is_named_and_the_last_finite_weights_stay(tmp_path, images, changes, message):
    model, recipe = maskrcnn_tiny(4, **SMALL), replace(RECIPE, **changes)
    trainer = Trainer(model, images, None, recipe, tmp_path, show_progress=False)
    with np.errstate(all="ignore"), pytest.raises((InputError, NonFiniteError), match=message):
        trainer.run()
    last = load_newest(tmp_path / "checkpoints")
    assert last.step == trainer.step >= 1
    assert all(np.isfinite(array).all() for array in last.arrays.values())
    assert not (tmp_path / "model.safetensors").exists()
