"""A training run on the device: checkpoints on disk, and the same result after resuming."""

import numpy as np
import pytest

from tinymaskrcnn.backend import device_of
from tinymaskrcnn.models.builders import maskrcnn_tiny
from tinymaskrcnn.training import Recipe, Trainer
from tinymaskrcnn.weights import load_weights

from .modes import mode
from .test_model import SMALLEST, example

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(mode() == "simulator", reason="a step there takes minutes"),
]


def train(out, device, steps, resume=False):
    """Make `steps` steps of a two-step run, on two images."""
    settings = {"batch_size": 2, "warmup_steps": 0, "checkpoint_every": 1, "sample_every": 0}
    recipe = Recipe(steps=2, ema=0.9, optimizer="sgd", lr=0.01, flip=0.0, **settings)
    model = maskrcnn_tiny(4, **SMALLEST).to(device)
    data = [example(), example(1)]
    trainer = Trainer(model, data, None, recipe, out, resume=resume, show_progress=False)
    if steps < 2:

        def stop(batch, trained=trainer._train_on):
            row = trained(batch)
            trainer._save(folder)
            raise InterruptedError(row)

        folder = None
        original = trainer._train

        def remembering(given):
            nonlocal folder
            folder = given
            original(given)

        trainer._train, trainer._train_on = remembering, stop
        with pytest.raises(InterruptedError):
            trainer.run()
    else:
        trainer.run()
    assert {device_of(p.data) for p in model.parameters()} == {device}
    return out


def test_a_run_that_was_cut_off_ends_as_one_that_was_not(gpu, tmp_path):
    whole = load_weights(train(tmp_path / "whole", "cuda", 2) / "model.safetensors")
    train(tmp_path / "parts", "cuda", 1)
    parts = load_weights(train(tmp_path / "parts", "cuda", 2, resume=True) / "model.safetensors")
    host = load_weights(train(tmp_path / "host", "cpu", 2) / "model.safetensors")
    for name, array in whole.items():
        assert np.array_equal(array, parts[name]), name
        scale = max(np.abs(host[name]).max(), 1e-3)
        assert np.abs(array - host[name]).max() <= 1e-3 * scale, name
