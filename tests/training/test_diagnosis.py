"""What the report of a number gone wrong names."""

import numpy as np
import pytest

from tinymaskrcnn.nn import Module
from tinymaskrcnn.training.diagnosis import bad_arrays, explain_gradient, explain_loss

from .stub import StubModel, stub_images


def explanation(model, samples, **losses):
    images, targets = zip(*samples, strict=True)
    names = [f"{letter}.png" for letter in "abcdefgh"[: len(images)]]

    def forward(some, of_them):
        return model(some, of_them, np.random.default_rng(0))

    return explain_loss(model, forward, images, targets, names, losses)


def test_the_term_is_named():
    text = explanation(StubModel(), stub_images(2), loss_mask=float("nan"), loss_box_reg=1.0)
    assert text.startswith("loss_mask is nan; ")
    assert "loss_box_reg" not in text


def test_an_image_with_bad_pixels_is_named():
    samples = stub_images(3)
    samples[1][0][0, 0, 0] = np.nan
    text = explanation(StubModel(), samples, loss_mask=float("nan"))
    assert "images with pixels that are not finite: b.png;" in text
    assert "first layer whose output was not finite: head (Colours)" in text


def test_an_image_that_fails_by_itself_is_named():
    samples = stub_images(3)
    samples[2][0][:] = 1e30  # finite, but its square is not
    text = explanation(StubModel(), samples, loss_mask=float("inf"))
    assert "images that fail alone: c.png;" in text
    assert "every layer's output was finite" in text


def test_a_bad_weight_is_named():
    model = StubModel()
    model.head.bias.data[1] = np.inf
    text = explanation(model, stub_images(2), loss_mask=float("nan"))
    assert "head (Colours), whose bias is not finite" in text


def test_where_every_image_fails_by_itself_it_is_none_of_them():
    model = StubModel()
    model.head.weight.data[:] = np.inf
    text = explanation(model, stub_images(2), loss_mask=float("nan"))
    assert "every image fails alone, so none of them is the cause: a.png, b.png;" in text


def test_a_whole_batch_is_named_if_no_image_fails_alone():
    class Together(StubModel):
        def forward(self, images, targets, rng):
            losses = super().forward(images, targets, rng)
            return losses if len(images) == 1 else {n: v * np.inf for n, v in losses.items()}

    text = explanation(Together(), stub_images(2), loss_mask=float("inf"))
    assert "no image fails alone, only the whole batch does: a.png, b.png" in text


def test_modules_are_called_as_before_afterwards():
    before = Module.__call__
    explanation(StubModel(), stub_images(1), loss_mask=float("nan"))
    assert Module.__call__ is before


@pytest.mark.parametrize(("value", "expected"), [(np.inf, "head.bias"), (1.0, "squares")])
def test_gradients(value, expected):
    model = StubModel()
    for parameter in model.parameters():
        parameter.grad = np.zeros_like(parameter.data)
    model.head.bias.grad[0] = value
    assert expected in explain_gradient(model.named_parameters())


def test_bad_arrays():
    arrays = {"a": np.array([1.0]), "b": np.array([np.nan]), "c": np.array([-np.inf])}
    assert bad_arrays(arrays) == ["b", "c"]
