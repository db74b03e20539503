"""The pages of a run folder: when they are written, what a resumed run does, and that training does
not notice.
"""

from dataclasses import replace

import pytest

import tinymaskrcnn as tm
from tests.training.stub import RECIPE
from tests.viz.report.test_pages import data_of, unpack
from tinymaskrcnn.training.moments import moment_steps

SMALL = {
    "widths": (8, 8, 8, 8),
    "fpn_channels": 8,
    "box_channels": (8,),
    "representation": 16,
    "mask_channels": (8,),
    "min_size": 64,
    "max_size": 64,
}
SETTINGS = replace(RECIPE, steps=4, batch_size=1, checkpoint_every=1, eval_images=1, moments=3)


def train(out, steps=None, resume=False, **changes):
    shapes = tm.ToyShapes(20, size=64, min_objects=1, max_objects=3)
    trainer = tm.Trainer(
        tm.maskrcnn_tiny(**SMALL), shapes, tm.ToyShapes(4, size=64, split="val"),
        replace(SETTINGS, **changes), out, resume, show_progress=False,
    )  # fmt: skip
    if steps is not None:
        whole = trainer._batches

        def some():
            for batch in whole():
                if trainer.step == steps:
                    raise RuntimeError("power cut")
                yield batch

        trainer._batches = some
        with pytest.raises(RuntimeError, match="power cut"):
            trainer.run()
    else:
        trainer.run()
    return {p.name: p.read_bytes() for p in sorted((out / "explain").glob("*"))}


def test_moments_double():
    assert moment_steps(2000, 8) == {0, 31, 62, 125, 250, 500, 1000, 2000}
    assert moment_steps(3, 8) == {0, 1, 2, 3}
    assert moment_steps(5, 1) == {0}
    assert moment_steps(5, 0) == set()


def test_pages_of_every_moment_and_one_of_all(tmp_path):
    files = train(tmp_path / "run")
    steps = [0, 2, 4]
    names = [f"step-{s:08d}.{kind}" for s in steps for kind in ("html", "moment")]
    assert sorted(files) == sorted(["index.html", *names])
    moments = [unpack(line) for line in data_of(files["index.html"].decode()).split("\n")]
    assert [m["step"] for m in moments] == steps
    assert all(f"after {s} steps" in files[f"step-{s:08d}.html"].decode() for s in steps)
    losses = [sum(m["losses"].values()) for m in moments]
    assert len(set(losses)) == 3, "the model changed"


def test_training_does_not_notice(tmp_path):
    weights = []
    for moments in (0, 3):
        out = tmp_path / str(moments)
        train(out, moments=moments)
        weights.append((out / "model.safetensors").read_bytes())
        rows = (out / "metrics.jsonl").read_text().splitlines()
        weights.append([row.rpartition('"seconds"')[0] for row in rows])
    assert weights[:2] == weights[2:]


def test_a_run_that_broke_off_ends_with_the_same_pages(tmp_path):
    whole = train(tmp_path / "whole")
    train(tmp_path / "broken", steps=3)
    assert train(tmp_path / "broken", resume=True) == whole


def test_a_page_that_a_crash_kept_from_being_written_is_made_up_for(tmp_path):
    """The power goes after the checkpoint and before the page of the same step."""
    whole = train(tmp_path / "whole")
    train(tmp_path / "broken", steps=2)
    for name in ("step-00000002.html", "step-00000002.moment"):
        (tmp_path / "broken" / "explain" / name).unlink()
    assert train(tmp_path / "broken", resume=True) == whole


def test_no_pages_where_none_are_wanted(tmp_path):
    assert train(tmp_path / "run", moments=0) == {}
