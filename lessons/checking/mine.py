"""`tinymaskrcnn learn --mine`: the model, run with the learner's own parts.

Answers run in a process of their own, `python -m lessons.checking.mine JOB`, so that none can hang
or end the command.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lessons import FOLDER, load
from lessons.mine import installed
from lessons.samples import sample_set
from tinymaskrcnn import SGD, load_model, maskrcnn_tiny
from tinymaskrcnn.datasets.images import read_image
from tinymaskrcnn.datasets.shapes import ToyShapes
from tinymaskrcnn.functional import box_iou
from tinymaskrcnn.optim import clip_scale, grad_norm
from tinymaskrcnn.viz.draw import draw_detections

from .console import MARKS, PICTURES
from .files import ExerciseFile, Topic, exercises_folder, shown, topics
from .report import wrapped
from .runner import Result, check_all
from .task import Task
from .worker import loaded

SECONDS = 60.0  # the most that an image may take; with right answers it is less than one
TRAINING_SECONDS = 600.0
# the matrix products are small: more threads would only wait for each other
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
STEPS = 60
SCORE = 0.5
CLASSES = ToyShapes(1).classes
SIDE = 64  # of the images to train on
SMALL = {
    "min_size": SIDE,
    "max_size": SIDE,
    "anchor_sizes": (8, 16, 32, 64, 128),
    "canonical_scale": SIDE,
}


@dataclass(frozen=True)
class Job:
    """What the process is to do.

    Args:
        parts: names of the exercises whose answers are used.
        result: file for the result, JSON.
        picture: file for the drawn detections.
        image: an image file; None for an image of toy shapes.
        train: whether to train a small model first, and detect in one of its images.
    """

    parts: Sequence[str]
    result: str
    picture: str
    image: str | None = None
    train: bool = False


@dataclass(frozen=True)
class Found:
    """What came of it: the detections, or what went wrong.

    Args:
        labels: of the detections. classes: their names. seconds: of the detection.
        precision: AP at IoU 0.5 on this image; None without ground truth.
        wrong: one line if an answer failed.
        idle: parts that were never called.
    """

    labels: list[int] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    precision: float | None = None
    wrong: str = ""
    idle: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = [self.labels.count(k) for k in range(1, len(self.classes) + 1)]
        kinds = [f"{name} {n}" for name, n in zip(self.classes, counts, strict=True) if n]
        return f"{len(self.labels)} objects" + (f" ({', '.join(kinds)})" if kinds else "")


def run_mine(image: str | None, train: bool) -> int:
    """Print which parts of the model are the learner's, run it with them, and say where the picture
    is; return the exit status: 1 if an answer is wrong.

    Raises:
        InputError: the image cannot be read.
    """
    if image is not None:
        read_image(image)
    parts = [(topic, task) for topic in topics() for task in topic.tasks if task.kind == "build"]
    print("Checking your answers ...", flush=True)
    results = _checked(parts)
    for topic, task in parts:
        print(f"{topic.number} {task.name:<22} {_mark(results[task.name])}")
    right = [name for name, result in results.items() if result.status == "done"]
    print(f"\n{len(right)} of {len(parts)} parts are yours.")
    PICTURES.mkdir(parents=True, exist_ok=True)
    if train:
        return _train(right)
    package = _run([], "package", image)
    if right:
        _say("Found by your parts", _run(right, "mine", image), package, "mine")
    else:
        _say("Found by the package's parts", package, package, "package")
    wrong = [name for name, result in results.items() if result.status == "wrong"]
    for name in wrong:
        picture = f"mine_{name}"
        found = _run([*right, name], picture, image)
        if name in found.idle:
            print(f"Your {name} is not right yet, and only training needs it.")
        else:
            _say(f"With your {name} as it is", found, package, picture)
        print(f"   what is wrong with it: tinymaskrcnn learn {name}")
    return 1 if wrong else 0


def _mark(result: Result) -> str:
    return "yours" if result.status == "done" else f"the package's: {MARKS[result.status]}"


def _checked(parts: Sequence[tuple[Topic, Task]]) -> dict[str, Result]:
    results = {task.name: Result("untouched") for _, task in parts}
    jobs: dict[Topic, list[str]] = {}
    for topic, task in parts:
        if not ExerciseFile(topic.file).is_untouched(task.name):
            jobs.setdefault(topic, []).append(task.name)
    return results | check_all(list(jobs.items()))


def _say(what: str, found: Found, package: Found, picture: str) -> None:
    if found.wrong:
        print("\n".join(wrapped(f"{what}: {found.wrong}", "")))
        return
    same = found.labels == package.labels
    beside = (
        "" if found is package else ", as with the package's" if same else f" instead of {package}"
    )
    place = shown(PICTURES / f"{picture}.png")
    print(f"{what}: {found}{beside}; {found.seconds:.1f} s -> {place}")
    if found.precision is not None:
        print(f"   AP at IoU 0.5 on this image: {found.precision:.2f}")


def _train(right: Sequence[str]) -> int:
    print(f"{STEPS} steps on two images of {SIDE} x {SIDE} pixels, from random weights:")
    found = _run(right, "trained", None, train=True)
    if found.wrong:
        print(found.wrong)
        return 1
    print(f"Found now, in an image it has learned: {found} -> {shown(PICTURES / 'trained.png')}")
    return 0


def _run(parts: Sequence[str], name: str, image: str | None, train: bool = False) -> Found:
    """Run a job in a process; what it prints while it trains goes to the terminal."""
    seconds = TRAINING_SECONDS if train else SECONDS
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        job = Job(parts, str(result), str(PICTURES / f"{name}.png"), image, train)
        call = [sys.executable, "-m", "lessons.checking.mine", json.dumps(asdict(job))]
        try:
            process = subprocess.run(
                call,
                cwd=FOLDER.parent,
                env=os.environ | ONE_THREAD,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Found(wrong=f"it was still running after {seconds:g} seconds")
        if not result.exists():
            last = (process.stderr.strip().splitlines() or ["no message"])[-1]
            return Found(wrong=f"its process ended with status {process.returncode}: {last}")
        return Found(**json.loads(result.read_text(encoding="utf-8")))


# From here on: in the process of the answers.


def _answers(names: Sequence[str]) -> dict[str, Callable[..., Any]]:
    modules = {topic: loaded(topic.file) for topic in topics() if set(names) & _names(topic)}
    return {
        name: getattr(module, name)
        for topic, module in modules.items()
        for name in names
        if name in _names(topic)
    }


def _names(topic: Topic) -> set[str]:
    return {task.name for task in topic.tasks}


def _work(job: Job) -> Found:
    called: set[str] = set()
    answers = {name: _noting(called, name, a) for name, a in _answers(job.parts).items()}
    ap = answers.get("average_precision", load("measuring").ap_one)
    with installed(answers):
        if job.train:
            model, image, target = _trained()
        else:
            model, (image, target) = load_model("shapes"), _image(job.image)
        start = time.perf_counter()
        (found,) = model.detect([image])
        found = found[found.scores >= SCORE]
        drawn = draw_detections(image, found, CLASSES, 0.0)
        seconds = time.perf_counter() - start
        precision = None if target is None else float(ap(*_hits(found, target)))
    drawn.save(job.picture)
    idle = [name for name in answers if name not in called]
    return Found(found.labels.tolist(), list(CLASSES), seconds, precision, idle=idle)


def _noting(called: set[str], name: str, answer: Callable[..., Any]) -> Callable[..., Any]:
    def noted(*arguments: Any) -> Any:
        called.add(name)
        return answer(*arguments)

    return noted


def _image(path: str | None) -> tuple[np.ndarray, Any]:
    return sample_set("shapes")[0] if path is None else (read_image(path), None)


def _hits(found: Any, target: Any) -> tuple[np.ndarray, int]:
    """Whether each detection, best first, is right; and how many objects there are."""
    same = found.labels[:, None] == target["labels"]
    overlap = box_iou(found.boxes, target["boxes"]) * same
    return np.array(load("measuring").match_one(overlap, 0.5), bool), len(target["boxes"])


def _trained() -> tuple[Any, np.ndarray, Any]:
    """A small model after some steps on two images, and one of them."""
    data = ToyShapes(2, size=SIDE, min_objects=1, max_objects=3)
    images, targets = zip(*(data[i] for i in range(len(data))), strict=True)
    model = maskrcnn_tiny(len(data.classes) + 1, **SMALL)
    optimiser = SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    rng = np.random.default_rng(0)
    for step in range(STEPS + 1):
        model.train()
        losses = model(images, targets, rng)
        total = sum(losses.values())
        if step % 10 == 0:
            print(f"   step {step:3}: loss {total.item():.2f}", flush=True)
        optimiser.zero_grad()
        total.backward()
        optimiser.step(clip_scale(grad_norm(model.parameters()), 5.0))
    model.eval()
    return model, images[0], targets[0]


def _failed(problem: BaseException) -> str:
    """Such as "it raises ValueError (...) in line 23 of lessons/exercises/10_suppression.py"."""
    folder = str(exercises_folder())
    frames = [f for f in traceback.extract_tb(problem.__traceback__) if folder in f.filename]
    if isinstance(problem, NotImplementedError):
        return "it calls a function that is not written yet"
    place = f" in line {frames[-1].lineno} of {shown(Path(frames[-1].filename))}" if frames else ""
    text = " ".join(str(problem).split())
    return f"it raises {type(problem).__name__}{f' ({text})' if text else ''}{place}"


def main(job: str) -> None:
    """Do the job and write its result."""
    given = Job(**json.loads(job))
    try:
        found = _work(given)
    except Exception as problem:
        found = Found(wrong=_failed(problem))
    Path(given.result).write_text(json.dumps(asdict(found)), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
