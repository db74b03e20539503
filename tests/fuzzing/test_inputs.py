"""Damaged files and odd calls: each is accepted, or refused in one line (guard.py).

Here are a few of each kind, and with `-m soak` thousands: together more than 20,000. An input that
was handled wrongly is kept (test_kept.py).
"""

import contextlib
import io
import json
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.datasets.formats.test_damage import SOURCES as ANNOTATIONS
from tests.datasets.formats.tools import write
from tests.test_cli import CLASSES, SMALL
from tests.weights.test_files import FILES
from tinymaskrcnn.cli import main
from tinymaskrcnn.commands import check_data, evaluate, train
from tinymaskrcnn.datasets import CocoDataset
from tinymaskrcnn.datasets.checking import check_set
from tinymaskrcnn.datasets.formats import Options, as_coco_json, read
from tinymaskrcnn.datasets.images import read_image
from tinymaskrcnn.detection.detections import Detections
from tinymaskrcnn.models.builders import TINY, build
from tinymaskrcnn.models.mask_rcnn import MaskRCNN
from tinymaskrcnn.models.pretrained import load_model
from tinymaskrcnn.training.recipes import RECIPES, Recipe, as_json, from_json, with_settings
from tinymaskrcnn.weights import load_weights, read_metadata, save_weights

from .guard import taken
from .strategies import VALUES, damaged_bytes, damaged_json


def fuzz(*strategies, soak):
    """A test in two sizes: 40 inputs, or this many with the marker `soak`."""

    def both(body):
        phases = [Phase.generate, Phase.shrink]
        calm = list(HealthCheck)
        common = {"deadline": None, "suppress_health_check": calm, "database": None}

        @pytest.mark.parametrize("examples", [40, pytest.param(soak, marks=pytest.mark.soak)])
        def test(place, examples):
            seen = []

            @settings(max_examples=examples, phases=phases, derandomize=examples == 40, **common)
            @given(st.tuples(*strategies))
            def run(drawn):
                seen.append(1)
                body(place, *drawn)

            run()
            print(f"{body.__name__}: {len(seen)} inputs")

        test.__doc__, test.body = body.__doc__, body
        return test

    return both


# weight files

TORCH = [(FILES / n).read_bytes() for n in ("zip.pth", "stream.pth", "linear.pt", "typed.pth")]


def all_of(path):
    return load_weights(path), read_metadata(path)


@fuzz(st.sampled_from(TORCH).flatmap(damaged_bytes), soak=4000)
def test_weights_of_torch(place, content):
    path = place / "damaged.pth"
    path.write_bytes(content)
    answer = taken(all_of, path)
    assert answer is None or all(isinstance(array, np.ndarray) for array in answer[0].values())


@fuzz(st.data(), soak=2500)
def test_weights_of_safetensors(place, data):
    """Even with a header that is damaged but has the right length."""
    whole = (place / "small.safetensors").read_bytes()
    length = 8 + int.from_bytes(whole[:8], "little")
    header = data.draw(damaged_bytes(whole[8:length]))
    path = place / "damaged.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + whole[length:])
    taken(all_of, path)


CONFIG = {"builder": "maskrcnn_tiny", "num_classes": 4, **SMALL}
CONFIG = json.loads(json.dumps(CONFIG))


@fuzz(damaged_json({"config": CONFIG, "classes": CLASSES}), soak=1000)
def test_metadata_of_weights(place, metadata):
    """The model that a file describes is built, or does not fit the file's arrays."""
    arrays = load_weights(place / "small.safetensors")
    path = place / "described.safetensors"
    save_weights(path, arrays, {key: json.dumps(value) for key, value in metadata.items()})
    taken(load_model, str(path))


# annotations


@fuzz(st.sampled_from(ANNOTATIONS).flatmap(damaged_json), soak=3500)
def test_annotations(place, content):
    """COCO, VIA 1 and 2, and labelme: converted, checked and read for training."""
    path = write(place / "damaged.json", content)
    taken(lambda: as_coco_json(read(path, None, Options()), place))
    taken(check_set, path)
    dataset = taken(CocoDataset, path)
    for index in range(len(dataset or ())):
        taken(dataset.__getitem__, index)


TEXTS = [json.dumps(content).encode() for content in ANNOTATIONS]


@fuzz(st.sampled_from(TEXTS).flatmap(damaged_bytes), soak=2500)
def test_annotations_that_are_no_json(place, content):
    path = place / "damaged.json"
    path.write_bytes(content)
    taken(lambda: as_coco_json(read(path, None, Options()), place))
    taken(CocoDataset, path)


# images


def encoded(kind, mode):
    """The bytes of a small image."""
    pixels = np.arange(16 * 12 * 4, dtype=np.uint8).reshape(16, 12, 4)
    buffer = io.BytesIO()
    Image.fromarray(pixels, "RGBA").convert(mode).save(buffer, kind)
    return buffer.getvalue()


IMAGES = [
    encoded(kind, mode)
    for kind, modes in {
        "PNG": ("RGB", "RGBA", "P", "1", "I;16", "LA"),
        "JPEG": ("RGB", "L", "CMYK"),
        "GIF": ("P",),
        "TIFF": ("RGB", "F", "CMYK", "I;16"),
        "BMP": ("RGB", "1"),
        "WEBP": ("RGB", "RGBA"),
    }.items()
    for mode in modes
]


@fuzz(st.sampled_from(IMAGES).flatmap(damaged_bytes), soak=4000)
def test_images(place, content):
    path = place / "damaged.png"
    path.write_bytes(content)
    image = taken(read_image, path)
    if image is not None:
        assert image.shape[0] == 3 and image.dtype == np.float32
        assert np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1


# recipes

NAMES = [field.name for field in fields(Recipe)]
SETTINGS = st.builds("{}={}".format, st.sampled_from(NAMES), VALUES) | VALUES


@fuzz(st.lists(SETTINGS, min_size=1, max_size=4), soak=2500)
def test_settings(place, some):
    taken(with_settings, RECIPES["small"], some)


@fuzz(damaged_json(json.loads(json.dumps(as_json(RECIPES["small"])))), soak=1000)
def test_recipes_as_json(place, content):
    taken(from_json, content)


@fuzz(
    st.dictionaries(st.sampled_from([*SMALL, *TINY, "norm", "seed"]), VALUES, max_size=3), soak=600
)
def test_settings_of_the_model(place, some):
    texts = [f"model.{name}={value}" for name, value in some.items()]
    recipe = taken(with_settings, Recipe(model_settings=SMALL), texts)
    if recipe:
        taken(build, {"builder": "maskrcnn_tiny", **recipe.model_settings, "num_classes": 3})


# command lines

FLAGS = """
--data --val --images --recipe --weights --out --resume --seed --steps --batch-size --lr
--checkpoint-every --set --threads --device --score --json --max-pixels --errors --strict
--sheet --format --class --class-attribute --split --force --help --version -x -- -
"""
NOUNS = """
a.png empty.png foreign.json set.json via.json small.safetensors images missing . .. /dev/null
out shapes nuclei small coco masks cpu cuda lr=1 model.norm=group shapes.size=64 copy_paste=2
"""
WORDS = st.sampled_from(FLAGS.split()) | st.sampled_from(NOUNS.split()) | VALUES
COMMANDS = ("train", "predict", "evaluate", "check-data", "convert", "fly")


@fuzz(st.sampled_from(COMMANDS), st.lists(WORDS, max_size=7), soak=3000)
def test_command_lines(place, command, words):
    """Ends with an exit status of its own, and prints one line if it fails.

    What a model computes is left out, and so is the drawing of contact sheets.
    """
    err = io.StringIO()
    with patched(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
        status = taken(status_of, [command, *words])
    assert status in (0, 1, 2)
    assert "Traceback" not in err.getvalue()
    if status == 2:
        assert err.getvalue().count("\n") == 1


def status_of(arguments):
    try:
        return main(arguments)
    except SystemExit as end:
        return end.code or 0


NOTHING = Detections(
    np.zeros((0, 4), np.float32),
    np.zeros(0, int),
    np.zeros(0, np.float32),
    np.zeros((0, 28, 28), np.float32),
    (20, 30),
)


@contextlib.contextmanager
def patched():
    """Leave out what takes long and needs no test here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train.Trainer, "run", lambda self: {"steps": 0, "seconds": 0.0})
        patch.setattr(MaskRCNN, "detect", lambda self, images: [NOTHING for _ in images])
        patch.setattr(train, "HELD_BACK", 1)
        patch.setattr(evaluate, "HELD_BACK", 1)
        patch.setattr(check_data, "save_sheet", lambda *arguments: None)
        yield
