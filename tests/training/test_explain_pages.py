"""The pages of a run folder: when they are written, what a resumed run does with them, and that
training does not notice.
"""

import errno
import os
from dataclasses import replace

import numpy as np
import pytest

import tinymaskrcnn as tm
from tests.test_cli import SMALL
from tests.training.stub import RECIPE
from tests.viz.report.test_pages import data_of, unpack
from tinymaskrcnn.training import explain_pages
from tinymaskrcnn.training.explain_pages import page_steps
from tinymaskrcnn.viz import report
from tinymaskrcnn.viz.report import pages

SETTINGS = replace(
    RECIPE, steps=4, batch_size=1, checkpoint_every=1, eval_images=1, explain_pages=3
)


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
    return pages_of(out)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run that nothing disturbed."""
    out = tmp_path_factory.mktemp("whole")
    train(out)
    return out


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The folder of a run without pages."""
    out = tmp_path_factory.mktemp("plain")
    train(out, explain_pages=0)
    return out


def pages_of(out):
    return {p.name: p.read_bytes() for p in sorted((out / "explain").glob("*"))}


def weights_of(out):
    return (out / "model.safetensors").read_bytes()


def test_the_steps_between_two_pages_double():
    assert page_steps(2000, 8) == {0, 31, 62, 125, 250, 500, 1000, 2000}
    assert page_steps(3, 8) == {0, 1, 2, 3}
    assert page_steps(5, 1) == {0}
    assert page_steps(5, 0) == set()


def test_pages_of_every_moment_and_one_of_all(whole):
    files = pages_of(whole)
    steps = [0, 2, 4]
    kinds = ("html", "moment", "safetensors")
    names = [f"step-{s:08d}.{kind}" for s in steps for kind in kinds]
    assert sorted(files) == sorted(["index.html", *names])
    moments = [unpack(line) for line in data_of(files["index.html"].decode()).split("\n")]
    titles = list(dict.fromkeys(m["title"] for m in moments))
    assert 1 < len(titles) <= 4 and moments[0]["title"] == titles[0]
    for title in titles:  # every image at every moment; the first has pages
        shown = [m for m in moments if m["title"] == title]
        assert [m["step"] for m in shown] == steps
        assert all((m["page"] is None) == (title != titles[0]) for m in shown)
    moments = [m for m in moments if m["title"] == titles[0]]
    assert all(f"after {s} steps" in files[f"step-{s:08d}.html"].decode() for s in steps)
    losses = [sum(m["losses"].values()) for m in moments]
    assert len(set(losses)) == 3, "the model changed"


def test_the_weights_of_every_moment_are_kept(whole):
    models = [tm.load_model(whole / f"explain/step-{s:08d}.safetensors") for s in (0, 2, 4)]
    first, _, last = (model.state_dict() for model in models)
    final = tm.load_model(whole).state_dict()
    assert models[-1].classes == tm.load_model(whole).classes
    for name, array in final.items():
        np.testing.assert_array_equal(last[name], array.astype(np.float16).astype(array.dtype))
    assert any(not np.array_equal(first[name], last[name]) for name in final)


def test_training_does_not_notice(whole, plain):
    assert weights_of(whole) == weights_of(plain)
    rows = [(out / "metrics.jsonl").read_text().splitlines() for out in (whole, plain)]
    rows = [[row.rpartition('"seconds"')[0] for row in each] for each in rows]
    assert rows[0] == rows[1] and len(rows[0]) == 4


def test_a_run_that_broke_off_ends_with_the_same_pages(tmp_path, whole):
    train(tmp_path / "broken", steps=3)
    assert train(tmp_path / "broken", resume=True) == pages_of(whole)


def test_a_page_that_a_crash_kept_from_being_written_is_made_up_for(tmp_path, whole):
    """The power fails after the checkpoint and before the page of the same step."""
    train(tmp_path / "broken", steps=2)
    for name in ("step-00000002.html", "step-00000002.moment"):
        (tmp_path / "broken" / "explain" / name).unlink()
    assert train(tmp_path / "broken", resume=True) == pages_of(whole)


def test_no_pages_where_none_are_wanted(plain):
    assert not (plain / "explain").exists()


def failing_at(calls):
    """A wrapper that fails in these calls, counted from 1, and otherwise acts as the original."""
    count = 0

    def wrap(original):
        def wrapped(*arguments, **settings):
            nonlocal count
            count += 1
            if count in calls:
                raise ValueError("Too many bins for data range")
            return original(*arguments, **settings)

        return wrapped

    return wrap


@pytest.mark.parametrize("calls", [{2}, {1, 2, 3}])
def test_a_page_that_fails_does_not_end_the_training_and_the_page_says_so(
    tmp_path, monkeypatch, caplog, plain, calls
):
    monkeypatch.setattr(report, "explain_page", failing_at(calls)(report.explain_page))
    files = train(tmp_path / "run")
    assert "the page of step 2 failed; training goes on: ValueError: Too many bins" in caplog.text
    assert weights_of(tmp_path / "run") == weights_of(plain)
    moments = [unpack(line) for line in data_of(files["index.html"].decode()).split("\n")]
    assert list(dict.fromkeys(m["step"] for m in moments)) == [0, 2, 4]
    missing = {m["step"]: m["missing"] for m in moments if "missing" in m}
    assert missing == dict.fromkeys(
        [[0, 2, 4][call - 1] for call in sorted(calls)], "ValueError: Too many bins for data range"
    )


@pytest.mark.parametrize("part", ["weights", "learning"])
def test_a_part_of_the_page_that_fails_is_named_in_it(tmp_path, monkeypatch, caplog, part):
    name = f"collect_{part}"
    monkeypatch.setattr(pages, name, failing_at({1})(getattr(pages, name)))
    files = train(tmp_path / "run")
    first, last = (unpack(data_of(files[f"step-{s:08d}.html"].decode())) for s in (0, 4))
    assert first["missing"] == {part: "ValueError: Too many bins for data range"}
    assert not first[part]
    assert last["missing"] == {} and last[part]
    assert f"the page lacks {part}: ValueError: Too many bins" in caplog.text


def test_gradients_that_fail_leave_none_behind(tmp_path, monkeypatch, caplog, plain):
    """Half a backward pass for a page must not reach the next step."""
    original = pages._gradients_of

    def failing(*arguments):
        original(*arguments)
        raise ValueError("after backward")

    monkeypatch.setattr(pages, "_gradients_of", failing)
    train(tmp_path / "run")
    assert "the page lacks gradients: ValueError: after backward" in caplog.text
    assert weights_of(tmp_path / "run") == weights_of(plain)


def test_a_full_disk_for_a_page_does_not_end_the_training(tmp_path, monkeypatch, caplog):
    def full(path, *_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    for writer in ("write_atomic", "write_weights"):
        monkeypatch.setattr(explain_pages, writer, full)
    assert train(tmp_path / "run") == {}
    assert (tmp_path / "run" / "result.json").exists()
    assert "step-00000002.html: No space left on device" in caplog.text
