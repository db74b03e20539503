"""How cost grows with the work: `python -m tests.benchmarks.growth [parts of names]`.

Each amount is measured in a process of its own, on one thread: seconds of processor time, and the
peak memory of the process in MB. The slope is that of the last two amounts, log time over log work:
1 is in proportion to the work, 0 is independent of it. `--most N` leaves out larger amounts.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import process_time
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from .harness import ROOT
from .loading import ellipses

PER_IMAGE, CLASSES, DISTINCT = 7.29, 80, 800  # as COCO's 860,000 objects in 118,000 images
SIZE = (480, 640)


class Curve(NamedTuple):
    """What is measured.

    Attributes:
        amounts: ascending. prepare: from an amount and an empty folder, makes the call to measure.
        power: of the amount that the work grows with.
    """

    amounts: Sequence[int]
    prepare: Callable[[int, Path], Callable[[], Any]]
    power: int = 1


# ---- image side


def nuclei_image(side: int) -> Any:
    """A Picture of side x side pixels, with a nucleus per 32 x 32 of them."""
    from tinymaskrcnn.datasets.images import Picture

    rng = np.random.default_rng(0)
    owner = ellipses(rng, (256, 256), 64, (6, 14))
    grey = np.concatenate([[20], rng.uniform(60, 200, 64)])[owner].astype(np.uint8)
    return Picture(np.tile(grey, (side // 256, side // 256)), 3)


def predicting(tile: int | None) -> Callable[[int, Path], Callable[[], Any]]:
    def prepare(side: int, folder: Path) -> Callable[[], Any]:
        import tinymaskrcnn as tm
        from tinymaskrcnn.models.any_size import detect_in, view_of

        model, picture = tm.load_model("nuclei"), nuclei_image(side)
        detect_in(model, nuclei_image(256), view_of(model, (256, 256), 0))  # loads the kernels
        return lambda: detect_in(model, picture, view_of(model, (side, side), tile))

    return prepare


# ---- objects


def grid(count: int, side: int = 1024, move: float = 0.0) -> np.ndarray:
    """Boxes (count, 4) that do not touch, in an image of side x side."""
    columns = math.ceil(math.sqrt(count))
    cell = side / columns
    row, column = np.divmod(np.arange(count), columns)
    corner = np.stack([column, row], 1) * cell + 0.2 * cell + move
    return np.concatenate([corner, corner + 0.6 * cell], axis=1).astype(np.float32)


def found(count: int) -> Any:
    from tinymaskrcnn.detection.detections import Detections

    scores = np.linspace(0.99, 0.5, count, dtype=np.float32)
    masks, labels = np.ones((count, 28, 28), np.float32), np.ones(count, np.int64)
    return Detections(grid(count), labels, scores, masks, (1024, 1024))


def evaluating_objects(count: int, folder: Path) -> Callable[[], Any]:
    from tinymaskrcnn.evaluation.evaluator import Findings, figures
    from tinymaskrcnn.evaluation.results import coco_annotations, coco_results

    some = found(count)
    target = {"boxes": some.boxes, "labels": some.labels, "masks": some.cropped_masks()}
    images = [{"id": 1, "height": 1024, "width": 1024}]
    objects = coco_annotations(target, 1)
    return lambda: figures(Findings(images, objects, coco_results(some, 1)), ["nucleus"])


def training_step(count: int, folder: Path) -> Callable[[], Any]:
    from tinymaskrcnn.datasets.targets import target_from_masks
    from tinymaskrcnn.detection.cropped_masks import CroppedMasks
    from tinymaskrcnn.models.builders import build

    model = build({"builder": "maskrcnn_tiny", "num_classes": 2, "scale": 1.0}).train()
    image = np.zeros((3, 512, 512), np.float32)
    boxes = np.rint(grid(count, 512)).astype(int)
    crops = [np.ones((max(y2 - y1, 1), max(x2 - x1, 1)), np.uint8) for x1, y1, x2, y2 in boxes]
    masks = CroppedMasks(crops, boxes[:, 1::-1], (512, 512))
    target = target_from_masks(masks, np.ones(count, np.int64), 0)

    def step() -> None:
        losses = model([image], [target], [np.random.default_rng(0)])
        sum(losses.values()).backward()

    step()
    return step


def writing(count: int, folder: Path) -> Callable[[], Any]:
    from tinymaskrcnn.exports import FORMATS, FilePerImage, PredictedImage, Source

    path = folder / "image.png"
    Image.new("L", (1024, 1024)).save(path)
    names = ("coco", "labelme", "labels", "yolo", "geojson", "csv")

    def write() -> None:
        image = np.zeros((3, 1024, 1024), np.float32)
        one = PredictedImage(Source(path), image, found(count), ["nucleus"], 1 << 30)
        for kind in map(FORMATS.get, names):
            if isinstance(kind, FilePerImage):
                kind.content(one, folder / f"out{kind.suffix}")
            else:
                kind.part(one)

    return write


def drawing(count: int, folder: Path) -> Callable[[], Any]:
    from tinymaskrcnn.viz.draw import draw_detections

    image, some = np.zeros((1024, 1024, 3), np.uint8), found(count)
    return lambda: draw_detections(image, some, ["nucleus"])


def tracking(count: int, folder: Path) -> Callable[[], Any]:
    from tinymaskrcnn.video.tracking import Tracker

    labels = np.ones(count, np.int64)

    def follow() -> None:
        tracker = Tracker()
        for frame in range(5):
            tracker.update(grid(count, move=frame), labels, frame / 25, (1024, 1024))

    follow()  # loads what it needs
    return follow


# ---- images in a data set


def write_set(folder: Path, images: int, size: tuple[int, int] = SIZE) -> Path:
    """A json of COCO's form with so many images, all links to one file, and PER_IMAGE objects in
    each, whose outlines have some 25 corners.
    """
    height, width = size
    rng, bodies = np.random.default_rng(0), []
    while len(bodies) < DISTINCT:
        corners = int(np.clip(rng.lognormal(3.05, 0.6), 4, 200))
        angle = np.sort(rng.uniform(0, 2 * np.pi, corners))
        radius = rng.uniform(0.75, 1, corners) * np.clip(rng.lognormal(3.4, 0.9), 4, 220)
        x = np.clip(rng.uniform(0, width) + radius * np.cos(angle), 0, width).round(2)
        y = np.clip(rng.uniform(0, height) + radius * np.sin(angle), 0, height).round(2)
        if min(np.ptp(x), np.ptp(y)) < 3:
            continue
        area = abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
        box = [float(v) for v in (x.min(), y.min(), np.ptp(x).round(2), np.ptp(y).round(2))]
        outline = [np.stack([x, y], 1).ravel().tolist()]
        entry = {"segmentation": outline, "area": area, "iscrowd": 0, "bbox": box}
        entry["category_id"] = int(rng.integers(1, CLASSES + 1))
        bodies.append(json.dumps(entry)[:-1])
    (folder / "images").mkdir()
    path, link = folder / "train.json", folder / "images" / "first.png"
    with path.open("w") as file:
        file.write('{"images": [')
        for i in range(images):
            if i % 50_000 == 0:  # a file cannot have any number of names
                link = folder / "images" / f"{i:012d}.png"
                Image.new("L", (width, height)).save(link)
            else:
                os.link(link, folder / "images" / f"{i:012d}.png")
            entry = {"id": i + 1, "file_name": f"{i:012d}.png", "height": height, "width": width}
            entry["coco_url"] = f"http://images.example.org/train2017/{i:012d}.jpg"
            entry["date_captured"] = "2013-11-14 11:18:45"
            file.write((", " if i else "") + json.dumps(entry))
        file.write('], "annotations": [')
        for k in range(int(images * PER_IMAGE)):
            body, image = bodies[k * 7919 % DISTINCT], int(k / PER_IMAGE) + 1
            file.write(f'{", " if k else ""}{body}, "image_id": {image}, "id": {k + 1}}}')
        names = [{"id": k, "name": f"class {k}"} for k in range(1, CLASSES + 1)]
        file.write(f'], "categories": {json.dumps(names)}}}')
    return path


def opening(images: int, folder: Path) -> Callable[[], Any]:
    from tinymaskrcnn.datasets import CocoDataset

    path = folder / "train.json"
    return lambda: CocoDataset(path)


def batches(images: int, folder: Path) -> Callable[[], Any]:
    from tinymaskrcnn.datasets import CocoDataset, Loader

    loader = Loader(CocoDataset(folder / "train.json"), 8, 0)
    loader.batch(0)

    def read() -> None:
        for step in range(1, 6):
            loader.batch(step)

    return read


def checking(images: int, folder: Path) -> Callable[[], Any]:
    from tinymaskrcnn.datasets.checking import check_set

    return lambda: check_set(folder / "train.json")


def converting(images: int, folder: Path) -> Callable[[], Any]:
    from tinymaskrcnn.datasets.formats import Options, as_coco_json, read

    source = folder / "train.json"
    return lambda: as_coco_json(read(source, None, Options()), folder)


def evaluating_images(images: int, folder: Path) -> Callable[[], Any]:
    from tinymaskrcnn.datasets import CocoDataset
    from tinymaskrcnn.evaluation.evaluator import Findings, figures
    from tinymaskrcnn.evaluation.results import coco_annotations

    data, everything = CocoDataset(folder / "train.json"), Findings()
    for i in range(len(data)):
        everything.images.append({"id": i + 1, "height": SIZE[0], "width": SIZE[1]})
        own = coco_annotations(data.target(i), i + 1)
        everything.annotations += own
        everything.results += [{**entry, "score": 0.9} for entry in own]
    return lambda: figures(everything, data.classes)


SIDES, OBJECTS = (256, 512, 1024, 2048, 4096), (1, 20, 200, 2000)
CURVES = {
    "image side: predict, whole": Curve(SIDES, predicting(0), 2),
    "image side: predict, in tiles": Curve(SIDES, predicting(None), 2),
    "objects: evaluate an image": Curve(OBJECTS, evaluating_objects),
    "objects: training step, 512x512": Curve(OBJECTS, training_step),
    "objects: write six formats": Curve(OBJECTS, writing),
    "objects: draw": Curve(OBJECTS, drawing),
    "objects: follow over five frames": Curve(OBJECTS, tracking),
    "images in a json: open it": Curve((100, 1000, 10_000, 118_000), opening),
    "images in a json: five batches of 8 for training": Curve((100, 1000, 10_000), batches, 0),
    "images in a json: check-data": Curve((10, 100, 400), checking),
    "images in a json: convert": Curve((10, 100, 1000), converting),
    "images in a json: evaluate": Curve((10, 100, 1000), evaluating_images),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of the curves' names; all if none")
    parser.add_argument("--most", type=int, default=1 << 30, metavar="N")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)  # name, amount, folder
    options = parser.parse_args()
    if options.one:
        name, amount, folder = options.one
        print(json.dumps(one(CURVES[name], int(amount), Path(folder))))
        return
    print("| what | amount: seconds, MB | slope |\n|---|---|---|")
    for name, curve in CURVES.items():
        if not options.names or any(part in name for part in options.names):
            amounts = [amount for amount in curve.amounts if amount <= options.most]
            print(f"| {name} | {' | '.join(row(name, curve, amounts))} |", flush=True)


def one(curve: Curve, amount: int, folder: Path) -> tuple[float, float]:
    """Seconds and MB of one call, in this process."""
    run = curve.prepare(amount, folder)
    start = process_time()
    run()
    seconds = process_time() - start
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def row(name: str, curve: Curve, amounts: Sequence[int]) -> list[str]:
    """The cells of one curve."""
    figures = []
    for amount in amounts:
        with tempfile.TemporaryDirectory() as folder:
            if name.startswith("images"):
                write_set(Path(folder), amount)
            figures.append(in_a_process(name, amount, folder))
    cells = [
        f"{amount}: {seconds:.2g} s, {memory:.0f}"
        for amount, (seconds, memory) in zip(amounts, figures, strict=True)
    ]
    return ["; ".join(cells), slope(curve, amounts, [seconds for seconds, _ in figures])]


def slope(curve: Curve, amounts: Sequence[int], seconds: Sequence[float]) -> str:
    """Of the last two amounts, over the work; over the amount where the work stays the same."""
    if len(amounts) < 2:
        return ""
    grown = math.log(amounts[-1] / amounts[-2]) * (curve.power or 1)
    return f"{math.log(seconds[-1] / seconds[-2]) / grown:.2f}"


def in_a_process(name: str, amount: int, folder: str) -> tuple[float, float]:
    threads = dict.fromkeys(("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    command = [sys.executable, "-m", "tests.benchmarks.growth", "--one", name, str(amount), folder]
    environment = os.environ | threads
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name}, {amount}: {done.stderr[-2000:]}")
    seconds, memory = json.loads(done.stdout.splitlines()[-1])
    return seconds, memory


if __name__ == "__main__":
    main()
