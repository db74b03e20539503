"""Many images, and many objects in one: memory does not grow with either."""

import json
import sys
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from tests.test_cli import small_weights
from tinymaskrcnn.cli import main
from tinymaskrcnn.commands import predict
from tinymaskrcnn.datasets import CocoDataset
from tinymaskrcnn.datasets.augment import Augmentation
from tinymaskrcnn.detection.detections import Detections
from tinymaskrcnn.evaluation.results import coco_annotations
from tinymaskrcnn.exports import FORMATS, OneFile, PredictedImage, Source
from tinymaskrcnn.models.roi_heads import mask_goals
from tinymaskrcnn.models.transform import Transform, TransformConfig
from tinymaskrcnn.viz.draw import draw_detections, draw_target

HEIGHT, WIDTH, OBJECTS = 1000, 1500, 300


def resident():
    """Bytes of memory that this process has now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.soak
def test_a_thousand_images_in_one_run_need_no_more_memory_than_a_hundred(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for number in range(1000):
        size = rng.integers(40, 120, 2)
        pixels = rng.integers(0, 255, (*size, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number:04d}.png")
    weights = small_weights(tmp_path / "w.safetensors")
    seen = []
    read = predict.read_compact

    def counted(*arguments):
        seen.append(resident())
        return read(*arguments)

    monkeypatch.setattr(predict, "read_compact", counted)
    call = ["predict", str(tmp_path), "--weights", weights, "--out", str(tmp_path / "out")]
    assert main([*call, "--score", "0", "--threads", "1", "--json"]) == 0
    assert len(seen) == 1000
    seen.append(resident())
    print(f"resident before every hundredth image, MB: {[size >> 20 for size in seen[::100]]}")
    peaks = {count: max(seen[: count + 1]) >> 20 for count in (100, 500, 1000)}
    print(f"peak within the first 100, 500, 1000 images, MB: {peaks}")
    content = json.loads((tmp_path / "out/predictions.json").read_text())
    print(f"objects written: {len(content['annotations'])}")
    assert [image["id"] for image in content["images"]] == list(range(1, 1001))
    assert max(seen[100:]) - seen[100] < 30 << 20


def test_300_objects_in_a_large_image_need_no_300_large_masks(tmp_path):
    """Drawn and written in every format; float masks would be 1.8 GB, bool ones 450 MB."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, (WIDTH - 200, HEIGHT - 200), (OBJECTS, 2))
    boxes = np.hstack([corners, corners + rng.uniform(20, 200, (OBJECTS, 2))]).astype(np.float32)
    rows, columns = np.mgrid[-13.5:14, -13.5:14]
    discs = rows**2 + columns**2 < rng.uniform(6, 14, (OBJECTS, 1, 1)) ** 2
    found = Detections(
        boxes,
        rng.integers(1, 4, OBJECTS),
        np.linspace(1, 0.5, OBJECTS, dtype=np.float32),
        discs.astype(np.float32),
        (HEIGHT, WIDTH),
    )
    image = np.zeros((3, HEIGHT, WIDTH), np.float32)
    file = tmp_path / "a.png"
    Image.new("L", (WIDTH, HEIGHT)).save(file)
    found[:1].rles()  # compiling is over before memory is looked at
    tracemalloc.start()
    predicted = PredictedImage(Source(file), image, found, ["a", "b", "c"], HEIGHT * WIDTH)
    contents = {}
    for name, format in FORMATS.items():
        if format.needs is None and isinstance(format, OneFile):
            pieces = format.pieces([predicted.source], [format.part(predicted)], predicted.classes)
            contents[name] = b"".join(pieces)
        elif format.needs is None:
            contents[name] = format.content(predicted, tmp_path / f"a{format.suffix}")
    drawn = draw_detections(image, found, ["a", "b", "c"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(json.loads(contents["coco"])["annotations"]) == OBJECTS
    assert len(json.loads(contents["geojson"])["features"]) == OBJECTS
    assert contents["csv"].count(b"\n") == OBJECTS + 1
    assert drawn.size == (WIDTH, HEIGHT)
    assert peak < 200 << 20


def test_400_true_objects_in_a_large_image_need_no_400_large_masks(tmp_path):
    """Read, changed, cut to goals, resized, compared and drawn; whole masks would be 420 MB."""
    side, count = 1024, 400
    Image.new("RGB", (side, side)).save(tmp_path / "a.png")
    annotations = []
    for k in range(count):
        x, y = k % 20 * 50, k // 20 * 50
        outline = [x, y, x + 20, y, x + 20, y + 18, x, y + 18]
        own = {"id": k + 1, "image_id": 1, "category_id": 1, "iscrowd": 0}
        box = {"segmentation": [outline], "bbox": [x, y, 20, 18], "area": 360}
        annotations.append(own | box)
    image = {"id": 1, "file_name": "a.png", "width": side, "height": side}
    content = {"images": [image], "annotations": annotations}
    content["categories"] = [{"id": 1, "name": "cell"}]
    (tmp_path / "a.json").write_text(json.dumps(content))
    dataset, rng = CocoDataset(tmp_path / "a.json"), np.random.default_rng(0)
    augment = Augmentation(1, 1, 1, 0.2, 0.1, 0.3, 1, partners=dataset)
    transform = Transform(TransformConfig(min_size=side // 2, max_size=side // 2))
    mask_goals(np.ones((1, 4, 4)), np.float32([[0, 0, 4, 4]]), np.zeros(1), 28)  # compiled by now
    tracemalloc.start()
    image, target = dataset[0]
    assert len(coco_annotations(target, 1)) == count
    draw_target(image, target, dataset.classes)
    _, (seen,) = transform([image], [target])
    goals = mask_goals(seen["masks"], seen["boxes"][:200], np.arange(200), 28)
    np.testing.assert_allclose(goals[:, 8:20, 8:20], 1, rtol=1e-5)
    _, changed = augment(image, target, rng)
    assert len(changed["labels"]) > 100
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200 << 20
