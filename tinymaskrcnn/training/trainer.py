"""Trainer: it turns a model, a data set and a recipe into a run folder with weights, metrics,
images and a result.

All randomness is derived from (seed, step), so a resumed run continues, bit for bit, as if it had
never stopped. Under MPI every rank does all of this with its share of each batch, and only the
first one reads and writes the run folder.

Not here: the batches (batches.py), the files of the run folder (run_folder.py, checkpoint.py), its
figures (run_figures.py), the causes of NaN (diagnosis.py), and how ranks communicate
(distributed.py).
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, nullcontext
from functools import partial
from math import isfinite
from pathlib import Path
from time import perf_counter
from typing import Any, NoReturn

import numpy as np

from .. import parallel
from ..datasets.loader import Batch
from ..datasets.named_dataset import named_datasets
from ..errors import InputError, NonFiniteError
from ..gpu.array import to_host
from ..models.mask_rcnn import MaskRCNN
from ..models.pretrained import FINAL
from ..optim import clip_scale, grad_norm
from . import diagnosis, run_figures
from .batches import loader_for
from .checkpoint import Checkpoint, load_newest, save_checkpoint
from .distributed import check_group, end_together, gradient_sums, require_same_weights, world
from .ema import MovingAverage
from .explain_pages import ExplainPages, page_steps
from .final_weights import check_weights, write_weights
from .identity import hash_of_file, known_by
from .interrupts import Interrupts, TrainingStopped
from .progress import ProgressBar
from .recipes import Recipe, named
from .run_figures import log_errors
from .run_folder import NoFolder, NoLog, RowLog, RunFolder
from .schedule import learning_rate, make_optimizer, progress

logger = logging.getLogger(__name__)
SAMPLING = 2  # the loader uses the streams (seed, 0, epoch) and (seed, 1, position)


class Trainer:
    """Trains a model, for the command `train` and for Python code alike.

    Args:
        model: a MaskRCNN; training starts from its present weights.
        dataset: anything with len() and [i] -> (image (3, H, W) float32 in 0..1, target).
            `classes`, `describe(i)` and `fingerprint()` are used if it has them. A fingerprint is
            anything that JSON can hold; a resumed run compares it to know whether its data are the
            same.
        val_dataset: likewise, for evaluation and sample images; None for neither.
        recipe: a Recipe, or the name of one.
        out: the run folder, made if missing.
        resume: continue the run in that folder.
        show_progress: draw a progress bar on standard error.

    Raises:
        InputError: the data set is empty, or its classes are not the model's.
    """

    def __init__(
        self,
        model: MaskRCNN,
        dataset: Any,
        val_dataset: Any | None,
        recipe: Recipe | str,
        out: str | Path,
        resume: bool = False,
        show_progress: bool = True,
    ) -> None:
        self.model = model
        self.dataset, self.val_dataset = named_datasets(dataset, val_dataset, model)
        self.recipe = named(recipe) if isinstance(recipe, str) else recipe
        self.out, self.resume, self.show_progress = Path(out), resume, show_progress
        self.classes = self.dataset.classes
        self.optimizer = make_optimizer(model, self.recipe)
        self.average = MovingAverage(model, self.recipe.ema) if self.recipe.ema else None
        self.group = parallel.Group()
        self.step, self._saved_step = 0, -1
        self._identity = self._saved_rows = ""
        self._seconds_before, self._started = 0.0, perf_counter()

    def run(self) -> dict[str, Any]:
        """Train to the end, evaluate, and write model.safetensors and result.json.

        Returns:
            The result: {"bbox": {...}, "segm": {...}, "seconds": ..., ...}. A finished run's result
            is read back.

        Raises:
            InputError: the run folder cannot be used as asked.
            NonFiniteError: a loss, gradient or weight stopped being finite; the last good
                checkpoint stays.
            TrainingStopped: SIGINT or SIGTERM came; everything is saved.
            OSError: a file could not be written; the last good checkpoint stays.
        """
        self.group = group = world(self.recipe.sync_norms)
        with end_together(group), parallel.shared_by(group), ExitStack() as stack:
            with group.together():
                check_group(group, self.model, self.recipe.batch_size)
                kind = RunFolder if group.leads else NoFolder
                folder = stack.enter_context(kind(self.out, self.resume))
                self._identity = folder.settle(self._known_by() if group.leads else {})
                if (result := folder.result()) is not None:
                    anew = partial(self._write_anew, folder, result["steps"])
                    check_weights(folder.path, result, anew)
            if (result := group.agreed(result)) is not None:
                logger.info("%s: this run is finished", self.out)
                return result
            with group.together():
                self._restore(folder)
            if self.step:
                logger.info("%s: going on after step %d", self.out, self.step)
            self._start_alike()
            self._part = parallel.share(self.recipe.batch_size)
            with self._logs(folder):
                self._train(folder)
            return self._finish(folder)

    @property
    def seconds(self) -> float:
        """Training time so far, including earlier sittings of this run."""
        return self._seconds_before + perf_counter() - self._started

    def _known_by(self) -> dict[str, Any]:
        val = None if self.val_dataset is None else self.val_dataset.samples
        data = self.dataset.samples, val
        return known_by(self.recipe, self.model, self.classes, *data, self.group.size)

    def _time(self) -> float:
        """`seconds`, the same on every rank where it decides something."""
        return self.group.agreed(self.seconds) if self.recipe.time_budget else self.seconds

    def _train(self, folder: RunFolder) -> None:
        self.model.train()
        self._sums = gradient_sums(self.optimizer.parameters(), self.group)
        self._explain(folder)  # at the start, and after a crash between checkpoint and page
        bar = ProgressBar(self.recipe, self.step, self.show_progress and self.group.leads)
        with Interrupts() as interrupts, bar, closing(self._batches()) as batches:
            for batch in batches:
                row = self._train_on(batch)
                self.metrics.append(row)
                bar.update(row)
                signal = int(self.group.largest(np.array([interrupts.signal or 0]))[0])
                if signal or self._due(self.recipe.checkpoint_every):
                    self._save(folder)
                if signal:
                    raise TrainingStopped(self.step, signal)
                self._report(folder)
        self._save(folder)

    def _batches(self) -> Generator[Batch, None, None]:
        """The batches from the present step to the last."""
        loader = loader_for(self.dataset, self.model, self.recipe, self.step, self._part)
        batches: Any = iter(loader)
        with closing(batches):
            while progress(self.recipe, self.step, self._time()) < 1:
                yield next(batches)

    def _train_on(self, batch: Batch) -> dict[str, float]:
        """Take one step; returns its row of metrics."""
        waited = self.group.seconds
        losses = self.model(batch.images, batch.targets, self._rngs())
        own = {name: loss.item() for name, loss in losses.items()}
        terms = dict(zip(own, self.group.total(np.array([*own.values()])).tolist(), strict=True))
        if not all(map(isfinite, terms.values())):
            self._fail_on_loss(batch, own)
        self._sums.backward(sum(losses.values()))
        norm = grad_norm(self.optimizer.parameters())
        if not isfinite(norm):
            self._fail(diagnosis.explain_gradient(self.model.named_parameters()))
        self.optimizer.lr = learning_rate(self.recipe, self.step, self._time())
        self.optimizer.step(clip_scale(norm, self.recipe.clip_norm))
        self.optimizer.zero_grad()
        if self.average:
            self.average.update()
        self.step += 1
        row = {"step": self.step, "loss": sum(terms.values()), **terms, "lr": self.optimizer.lr}
        row |= {"grad_norm": norm, "seconds": round(self.seconds, 3)}
        if self.group.size > 1:
            row["waited"] = round(self.group.seconds - waited, 4)
        return row

    def _rngs(self) -> list[np.random.Generator]:
        """The samplers' generators for the present step, one for each image of this rank."""
        rng = np.random.default_rng((self.recipe.seed, SAMPLING, self.step))
        return rng.spawn(self.recipe.batch_size)[self._part.start : self._part.stop]

    def _fail_on_loss(self, batch: Batch, terms: Mapping[str, float]) -> None:
        """Raise what every rank with such a loss reports about it."""
        cause = None
        if not all(map(isfinite, terms.values())):
            with parallel.shared_by(parallel.Group()):
                cause = diagnosis.explain_loss(
                    self.model,
                    lambda some, of_them: self.model(some, of_them, self._rngs()[: len(some)]),
                    batch.images,
                    batch.targets,
                    [self.dataset.describe(i) for i in batch.indices],
                    terms,
                )
        causes = [other for other in self.group.gathered(cause) if other is not None]
        self._fail("; ".join(causes))

    def _fail(self, cause: str) -> NoReturn:
        before = f"; the last update was with learning rate {self.optimizer.lr:g}"
        raise NonFiniteError(f"step {self.step + 1}: {cause}{before if self.step else ''}")

    def _due(self, every: int) -> bool:
        return bool(every) and self.step % every == 0

    def _report(self, folder: RunFolder) -> None:
        """Write sample images and the curve, and evaluate during training.

        A failure of these does not end the training, except in an evaluation by several ranks,
        which wait for each other in it.
        """
        alone = self.group.size == 1
        if self._due(self.recipe.sample_every):
            self._draw(folder)
        self._explain(folder)
        if self._due(self.recipe.evaluate_every) and self.val_dataset is not None:
            with log_errors(f"the evaluation after step {self.step}") if alone else nullcontext():
                self.evaluations.append({"step": self.step, **self._evaluate()})

    def _draw(self, folder: RunFolder) -> None:
        with self._best_weights():
            if not self.group.leads:
                return
            with log_errors(f"the curve of step {self.step}"):
                run_figures.draw_curve(folder.path)
            if self.val_dataset is not None:
                path = folder.samples / f"step-{self.step:08d}.png"
                with log_errors(f"the sample images of step {self.step}"):
                    run_figures.draw_samples(self.model, self.val_dataset, self.classes, path)

    def _explain(self, folder: RunFolder, at_last: bool = False) -> None:
        """Write the pages of every stage when they are due; only a Mask R-CNN has these stages."""
        recipe = self.recipe
        on_the_way = self.step in page_steps(recipe.steps, recipe.explain_pages) - {recipe.steps}
        if recipe.explain_pages and (on_the_way or at_last) and isinstance(self.model, MaskRCNN):
            shown = self.dataset if self.val_dataset is None else self.val_dataset
            with self._best_weights(), parallel.shared_by(parallel.Group()):
                if self.group.leads:
                    with log_errors(f"the page of step {self.step}"):
                        ExplainPages(folder.path / "explain", shown).write(self.model, self.step)

    def _evaluate(self) -> dict[str, Any]:
        from ..evaluation import evaluate  # late: training itself needs no pycocotools

        with self._best_weights():
            limit = self.recipe.eval_images or None
            shown = self.show_progress and self.group.leads and sys.stderr.isatty()
            return evaluate(self.model, self.val_dataset, max_images=limit, progress=shown)

    @contextmanager
    def _best_weights(self) -> Iterator[None]:
        """Eval mode, with the averaged weights if there are any. The norms' statistics, which may
        differ between ranks, are the first rank's.
        """
        self.model.eval()
        with self.average.applied() if self.average else nullcontext():
            self.group.copy_first(array for _, array in self.model.named_buffers())
            try:
                yield
            finally:
                self.model.train()

    @contextmanager
    def _logs(self, folder: RunFolder) -> Iterator[None]:
        """Open the row files, cut off at the checkpoint."""
        kind = RowLog if self.group.leads else NoLog
        self.metrics = kind(folder.path / "metrics.jsonl", self.step)
        self.evaluations = kind(folder.path / "evaluations.jsonl", self.step)
        if self.group.leads and self._saved_rows not in ("", self.metrics.digest):
            logger.warning(
                "%s: its rows have changed since step %d, so parts of the curve are wrong",
                folder.path / "metrics.jsonl",
                self.step,
            )
        try:
            yield
        finally:
            self.metrics.close()
            self.evaluations.close()

    def _save(self, folder: RunFolder) -> None:
        """Write a checkpoint of this step, unless there is one or a weight is not finite."""
        if self._saved_step == self.step:
            return
        state = self.model.state_dict()
        if bad := diagnosis.bad_arrays(state):
            raise NonFiniteError(
                f"step {self.step}: not saved, weights are not finite: {', '.join(bad[:5])}"
            )
        self._saved_step = self.step
        require_same_weights(self.model.parameters(), self.group)
        if not self.group.leads:
            return
        arrays = {f"model/{name}": array for name, array in state.items()}
        arrays |= {f"optimizer/{n}": array for n, array in self.optimizer.state_dict().items()}
        if self.average:
            arrays |= {f"average/{n}": to_host(a) for n, a in self.average.averages.items()}
        arrays["seconds"] = np.array([self.seconds])
        self.metrics.sync()
        self.evaluations.sync()
        texts = {"run": self._identity, "rows": self.metrics.digest}
        save_checkpoint(folder.checkpoints, self.step, arrays, texts)

    def _restore(self, folder: RunFolder) -> None:
        """Go back to the newest good checkpoint, if there is one."""
        checkpoint = load_newest(folder.checkpoints, self._identity) if self.group.leads else None
        if checkpoint is not None:
            try:
                self._take(checkpoint)
            except (InputError, LookupError) as problem:
                where = f"{folder.checkpoints}: step {checkpoint.step}"
                raise InputError(f"{where} is from another run ({problem})") from problem

    def _start_alike(self) -> None:
        """Give every rank the first one's state, and start its clock."""
        arrays = [*self.model.state_dict().values(), *self.optimizer.state_dict().values()]
        arrays += self.average.averages.values() if self.average else []
        self.group.copy_first(arrays)
        for parameter in self.model.parameters():
            parameter.changed()
        self.step, self._saved_step, self._seconds_before = self.group.agreed(
            (self.step, self._saved_step, self._seconds_before)
        )
        if self.average:
            self.average.updates = self.step
        self._started = perf_counter()

    def _take(self, checkpoint: Checkpoint) -> None:
        """Restore the checkpoint. Raises InputError or LookupError if it does not fit."""
        arrays = checkpoint.arrays
        self.model.load_state_dict(_part(arrays, "model/"))
        self.optimizer.load_state_dict(_part(arrays, "optimizer/"))
        if self.average:
            self.average.load(_part(arrays, "average/"), checkpoint.step)
        self._seconds_before = float(arrays["seconds"][0])
        self.step = self._saved_step = checkpoint.step
        self._saved_rows = checkpoint.texts.get("rows", "")

    def _write_anew(self, folder: RunFolder, steps: int, path: Path) -> bool:
        """Write the last checkpoint's weights; False if its number of steps is another."""
        try:
            self._restore(folder)
        except InputError as problem:
            logger.warning("%s", problem)
        if self.step != steps:
            return False
        with self.average.applied() if self.average else nullcontext():
            write_weights(path, self.model, self.classes)
        return True

    def _finish(self, folder: RunFolder) -> dict[str, Any]:
        """Write the final weights, images and metrics. result.json comes last: it marks the end."""
        self._draw(folder)
        self._explain(folder, at_last=True)
        with self._best_weights():
            if self.group.leads:
                write_weights(folder.path / FINAL, self.model, self.classes)
        result: dict[str, Any] = {}
        if self.val_dataset is not None:
            result |= self._evaluate()
        result |= {"steps": self.step, "seconds": round(self.seconds, 1)}
        if self.group.leads:
            result["weights_sha256"] = hash_of_file(folder.path / FINAL)
        folder.write_json("result.json", result)
        return result


def _part(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
