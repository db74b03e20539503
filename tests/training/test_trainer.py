"""The trainer on a stub model: everything but the learning."""

import errno
import json
import os
import signal
import sys
from dataclasses import replace

import numpy as np
import pytest

from tinymaskrcnn.errors import InputError, NonFiniteError
from tinymaskrcnn.training import Trainer, TrainingStopped, run_figures
from tinymaskrcnn.training import trainer as trainer_module
from tinymaskrcnn.training.checkpoint import load_newest
from tinymaskrcnn.training.run_folder import read_rows
from tinymaskrcnn.weights import load_weights, read_metadata

from .stub import RECIPE, TERMS, StubModel, stub_images


def make(out, recipe=RECIPE, model=None, val=None, resume=False, images=None):
    return Trainer(
        model or StubModel(),
        images or stub_images(),
        val,
        recipe,
        out,
        resume=resume,
        show_progress=False,
    )


class Interrupting(StubModel):
    """Sends its own process a signal in the middle of one step."""

    def __init__(self, step, number=signal.SIGINT):
        super().__init__()
        self.left, self.number = step, number

    def forward(self, *arguments):
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(self.number)
        return super().forward(*arguments)


def learnt(out):
    """Everything that a resumed run must have in common with one that never stopped."""
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in read_rows(out)]
    return rows, (out.parent / "model.safetensors").read_bytes()


def test_a_run_folder_holds_what_it_should(tmp_path, curves):
    recipe = replace(RECIPE, sample_every=4, evaluate_every=4)
    result = make(tmp_path, recipe, val=stub_images(2)).run()
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "checkpoints",
        "curve.png",
        "evaluations.jsonl",
        "lock",
        "metrics.jsonl",
        "model.safetensors",
        "result.json",
        "samples",
        "settings.json",
    ]
    assert [p.name for p in sorted((tmp_path / "samples").iterdir())] == [
        "step-00000004.png",
        "step-00000008.png",
    ]
    assert json.loads((tmp_path / "result.json").read_text()) == result
    assert result["bbox"]["AP"] == pytest.approx(1.0)  # the stub's boxes are the ground truth
    assert result["segm"].keys() >= {"AP", "AP50", "AP75", "APs", "APm", "APl"}
    assert result["steps"] == 8
    assert result["seconds"] > 0


def test_metrics_have_a_row_a_step(tmp_path):
    make(tmp_path).run()
    rows = read_rows(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(1, 9))
    assert rows[0].keys() == {"step", "loss", *TERMS, "lr", "grad_norm", "seconds"}
    assert rows[0]["loss"] == pytest.approx(sum(rows[0][term] for term in TERMS))
    assert rows[0]["lr"] == pytest.approx(0.05)


def test_it_learns(tmp_path):
    make(tmp_path, replace(RECIPE, steps=60)).run()
    losses = [row["loss"] for row in read_rows(tmp_path / "metrics.jsonl")]
    assert np.mean(losses[-10:]) < 0.2 * losses[0]


def test_muon_learns_too_and_goes_on_bit_for_bit(tmp_path):
    recipe = replace(RECIPE, optimizer="muon", steps=60)
    make(tmp_path / "whole", recipe).run()
    losses = [row["loss"] for row in read_rows(tmp_path / "whole/metrics.jsonl")]
    assert np.mean(losses[-10:]) < 0.2 * losses[0]
    with pytest.raises(TrainingStopped):
        make(tmp_path / "parts", recipe, Interrupting(31)).run()
    make(tmp_path / "parts", recipe, resume=True).run()
    assert learnt(tmp_path / "parts/metrics.jsonl") == learnt(tmp_path / "whole/metrics.jsonl")


def test_final_weights_are_the_average_and_say_what_they_are(tmp_path):
    trainer = make(tmp_path)
    trainer.run()
    weights = load_weights(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(weights["head.weight"], trainer.average.averages["head.weight"])
    assert not np.array_equal(weights["head.weight"], trainer.model.head.weight.data)
    metadata = read_metadata(tmp_path / "model.safetensors")
    assert json.loads(metadata["config"]) == {"builder": "stub", "num_classes": 3}
    assert json.loads(metadata["classes"]) == ["1", "2"]


def test_without_average_the_weights_themselves(tmp_path):
    trainer = make(tmp_path, replace(RECIPE, ema=0.0))
    trainer.run()
    weights = load_weights(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(weights["head.weight"], trainer.model.head.weight.data)


def test_same_seed_same_files(tmp_path):
    for name in "ab":
        make(tmp_path / name / "run").run()
    assert learnt(tmp_path / "a/run/metrics.jsonl") == learnt(tmp_path / "b/run/metrics.jsonl")
    make(tmp_path / "c", replace(RECIPE, seed=1)).run()
    assert learnt(tmp_path / "a/run/metrics.jsonl") != learnt(tmp_path / "c/metrics.jsonl")


@pytest.mark.parametrize("stop", [1, 3, 5, 8])
@pytest.mark.parametrize("ema", [0.9, 0.0])
def test_resume_goes_on_bit_for_bit(tmp_path, stop, ema):
    recipe = replace(RECIPE, ema=ema, evaluate_every=2)
    val = stub_images(1)
    make(tmp_path / "whole", recipe, val=val).run()
    with pytest.raises(TrainingStopped) as stopped:
        make(tmp_path / "parts", recipe, Interrupting(stop), val).run()
    assert (stopped.value.step, stopped.value.signal) == (stop, signal.SIGINT)
    make(tmp_path / "parts", recipe, StubModel(seed=9), val, resume=True).run()
    whole, parts = (learnt(tmp_path / name / "metrics.jsonl") for name in ("whole", "parts"))
    assert whole == parts


def test_resume_cuts_rows_that_are_ahead_of_the_checkpoint(tmp_path):
    with pytest.raises(TrainingStopped):
        make(tmp_path, model=Interrupting(5)).run()
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 6, "loss": 0}\n{"step": 7, "lo')
    make(tmp_path, resume=True).run()
    rows = read_rows(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(1, 9))
    assert rows[5]["loss"] > 0


def test_sigterm_saves_too_and_handlers_are_given_back(tmp_path):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with pytest.raises(TrainingStopped, match=r"SIGTERM after step 2; everything is saved"):
        make(tmp_path, model=Interrupting(2, signal.SIGTERM)).run()
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert load_newest(tmp_path / "checkpoints").step == 2


def test_a_second_signal_acts_at_once(tmp_path):
    class Impatient(Interrupting):
        def forward(self, *arguments):
            losses = super().forward(*arguments)
            if self.left == 0:
                signal.raise_signal(signal.SIGINT)
            return losses

    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, model=Impatient(2)).run()


def test_a_finished_run_is_read_back(tmp_path):
    result = make(tmp_path).run()
    again = make(tmp_path, resume=True)
    assert again.run() == result
    assert again.step == 0


def test_resume_with_other_images_is_refused(tmp_path):
    make(tmp_path).run()
    with pytest.raises(InputError, match="images is 4, was 5"):
        make(tmp_path, resume=True, images=stub_images(4)).run()


def test_a_time_budget_ends_a_run(tmp_path):
    result = make(tmp_path, replace(RECIPE, steps=10**6, time_budget=1.0)).run()
    assert 1 < result["steps"] < 10**6
    rates = [row["lr"] for row in read_rows(tmp_path / "metrics.jsonl")]
    falling = rates[np.argmax(rates) :]
    assert falling == sorted(falling, reverse=True) and falling[-1] < falling[0]


class Poisoned(StubModel):
    """A model whose weights become infinite in one step."""

    def __init__(self, step):
        super().__init__()
        self.left = step

    def forward(self, *arguments):
        self.left -= 1
        if self.left == 0:
            self.head.weight.data[0, 0] = np.inf
        return super().forward(*arguments)


def test_a_loss_that_is_not_finite_stops_the_run_and_leaves_the_last_good_checkpoint(tmp_path):
    with pytest.raises(NonFiniteError) as problem:
        make(tmp_path, model=Poisoned(5)).run()
    text = str(problem.value)
    assert text.startswith("step 5: loss_objectness is inf, loss_rpn_box_reg is inf")
    assert "sample " in text
    assert "head (Colours), whose weight is not finite" in text
    found = load_newest(tmp_path / "checkpoints")
    assert found.step == 3
    assert all(np.isfinite(array).all() for array in found.arrays.values())


def test_a_gradient_that_is_not_finite_stops_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer_module, "grad_norm", lambda parameters: float("nan"))
    with pytest.raises(NonFiniteError, match="step 1: the gradients are finite, but"):
        make(tmp_path).run()
    assert load_newest(tmp_path / "checkpoints") is None


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    class Late(Poisoned):
        def forward(self, *arguments):
            losses = StubModel.forward(self, *arguments)
            self.left -= 1
            if self.left == 0:
                self.seen[0] = np.inf
            return losses

    with pytest.raises(NonFiniteError, match="step 3: not saved, weights are not finite: seen"):
        make(tmp_path, model=Late(3)).run()
    assert load_newest(tmp_path / "checkpoints") is None


def test_a_learning_rate_of_a_million_is_reported(tmp_path):
    recipe = replace(RECIPE, steps=200, lr=1e6, clip_norm=0.0, warmup_steps=0, schedule="step")
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match="step"):
        make(tmp_path, recipe).run()
    found = load_newest(tmp_path / "checkpoints")
    assert all(np.isfinite(array).all() for array in found.arrays.values())


def test_an_empty_data_set_is_refused(tmp_path):
    with pytest.raises(InputError, match="the training set holds no images"):
        Trainer(StubModel(), [], None, RECIPE, tmp_path)


def test_classes_that_do_not_fit_are_refused(tmp_path):
    class Images(list):
        classes = ("a", "b", "c")

    class Others(list):
        classes = ("b", "a")

    with pytest.raises(InputError, match=r"3 classes \(a, b, c\), the model has 2"):
        make(tmp_path, images=Images(stub_images()))
    with pytest.raises(InputError, match="the validation set's classes"):
        make(tmp_path, val=Others(stub_images()))


def test_a_recipe_by_name(tmp_path):
    assert Trainer(StubModel(), stub_images(), None, "small", tmp_path).recipe.steps > 1
    with pytest.raises(InputError, match="no recipe"):
        Trainer(StubModel(), stub_images(), None, "large", tmp_path)


def full(*arguments, **settings):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "image.png")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("draw_curve", "the curve of step 4"),
        ("draw_samples", "the sample images of step 4"),
        ("_evaluate", "the evaluation after step 4"),
    ],
)
@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        (ValueError("Too many\nbins"), "ValueError: Too many bins"),
        (OSError(errno.ENOSPC, "No space left", "a.png"), "a.png: No space left"),
        (MemoryError(), "not enough memory"),
    ],
)
def test_nothing_that_is_drawn_beside_the_training_ends_it(
    tmp_path, monkeypatch, caplog, name, what, problem, reason
):
    problems = [problem]

    def fails_once(*arguments):
        if problems:
            raise problems.pop()
        return {"bbox": {}, "segm": {}}

    monkeypatch.setattr(run_figures, "draw_samples", lambda *arguments: None)
    make(tmp_path / "whole").run()
    where = Trainer if name == "_evaluate" else run_figures
    monkeypatch.setattr(where, name, fails_once)
    recipe = replace(RECIPE, sample_every=4, evaluate_every=4)
    make(tmp_path / "run", recipe, val=stub_images(2)).run()
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 1 and lines[0].startswith(f"{what} failed; training goes on: {reason}")
    assert "\n" not in lines[0]
    whole, run = (learnt(tmp_path / name / "metrics.jsonl") for name in ("whole", "run"))
    assert whole == run


def test_the_last_images_do_not_end_it_either(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(run_figures, "draw_curve", full)
    assert make(tmp_path).run()["steps"] == 8
    assert (tmp_path / "model.safetensors").exists()
    assert "the curve of step 8 failed" in caplog.text


@pytest.mark.parametrize("signal", [KeyboardInterrupt, SystemExit])
def test_what_a_person_asks_for_ends_it_as_before(tmp_path, monkeypatch, signal):
    def asked(*arguments):
        raise signal

    monkeypatch.setattr(run_figures, "draw_curve", asked)
    with pytest.raises(signal):
        make(tmp_path).run()


def test_a_reader_of_the_progress_that_goes_away_does_not_end_it(tmp_path, monkeypatch):
    class Gone:
        def write(self, text):
            raise BrokenPipeError

        def flush(self):
            raise BrokenPipeError

        def isatty(self):
            return True

        encoding = "utf-8"

    monkeypatch.setattr(sys, "stderr", Gone())
    trainer = Trainer(StubModel(), stub_images(), None, RECIPE, tmp_path)
    assert trainer.run()["steps"] == 8
