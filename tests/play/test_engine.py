"""The page's engine in headless Chromium, beside the package's own trace of the same images."""

import base64
import json
from functools import cache

import numpy as np
import pytest
from PIL import Image

import tinymaskrcnn as tm
from tests.browsers import chromium, opened
from tinymaskrcnn.detection.top_k import top_k
from tinymaskrcnn.models.box_head import CROP_SIZE, FlattenLinear
from tinymaskrcnn.ops.nms.reference import batched_nms
from tinymaskrcnn.ops.paste_masks.op import paste_boxes, paste_masks
from tinymaskrcnn.play.pack import NORMS, folded_layers
from tinymaskrcnn.play.pages import play_page

pytestmark = pytest.mark.browser

ROUNDING = 2e-5  # scores so near to each other have no order: the package's own kernels differ too
PIXELS, SCORE, MASK = 1e-3, 1e-4, 1e-3
SEE = """
const [width, height, text, done] = arguments;
const rgba = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
window.page.model.ask("see", { width, height, rgba }).then((t) => {
  t["rpn.objectness"] = t["rpn.objectness"].flatMap((level) => [...level]);
  t["detect.mask_probabilities"] = t["detect.mask_probabilities"].map((mask) => [...mask]);
  delete t["detect.box_deltas"];
  done(JSON.stringify(t));
});
"""
SEE_REGIONS = """
const [width, height, text, boxes, done] = arguments;  // all at once: the page looks, too
const rgba = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
window.page.model.ask("see", { width, height, rgba });
const asked = boxes.map((box) => window.page.model.ask("region", box));
Promise.all(asked).then((answers) => done(JSON.stringify(answers)));
"""


@pytest.fixture(scope="module")
def driver():
    with chromium() as driver:
        yield driver


def shapes(count, size=128, seed=7):
    """Generated images as a page gets them: (H, W, 3) bytes."""
    data = tm.ToyShapes(count, size=size, seed=seed, split="val")
    return [np.rint(data[i][0].transpose(1, 2, 0) * 255).astype(np.uint8) for i in range(count)]


def nuclei(folder):
    return [np.asarray(Image.open(p).convert("RGB")) for p in sorted(folder.glob("*.png"))]


def sent(pixels):
    """Width, height and bytes as the scripts take them."""
    height, width = pixels.shape[:2]
    rgba = np.dstack([pixels, np.full((height, width), 255, np.uint8)])
    return width, height, base64.b64encode(rgba.tobytes()).decode()


def seen_in_the_page(driver, pixels):
    return json.loads(driver.execute_async_script(SEE, *sent(pixels)))


def seen_by_the_package(model, pixels, backend):
    image = np.ascontiguousarray(pixels.transpose(2, 0, 1).astype(np.float32) / np.float32(255))
    if model.in_channels == 1:
        image = np.asarray(Image.fromarray(pixels).convert("L"), np.float32)[None] / np.float32(255)
    with tm.use(backend), tm.trace() as t:
        model.detect([image])
    return t


def of_one_image(t):
    """The parts of a trace of one image that the page gives too, as arrays."""
    names = ["rpn.top_k", "rpn.top_k_levels", "rpn.scores"]
    names += ["rpn.proposal_rows", "rpn.proposals", "detect.box_pool.levels", "detect.scores"]
    names += [f"detect.candidates.{n}" for n in ("rows", "labels", "scores", "clipped", "keep")]
    names += ["detect.kept", "detect.mask_probabilities", "rpn.objectness"]
    names += [f"detections.{n}" for n in ("boxes", "labels", "scores")]
    single = {"rpn.top_k", "rpn.scores", "rpn.objectness"}  # (1, ...)
    return {
        name: np.asarray(t[name][0] if isinstance(t[name], list) or name in single else t[name])
        for name in names
    }


def stages(t):
    """Of each stage: its name, what it holds in order (anchors, or anchors with a class), a score
    for each, and numbers with their tolerances.
    """
    anchors, rows = t["rpn.top_k"], t["rpn.proposal_rows"]
    yield "top_k", anchors, t["rpn.scores"], [(t["rpn.scores"], SCORE)]
    numbers = [(t["rpn.proposals"], PIXELS), (t["detect.scores"], SCORE)]
    numbers += [(t["detect.box_pool.levels"], 0)]
    yield "proposals", anchors[rows], t["rpn.scores"][rows], numbers
    of_proposal, label, score, clipped, keep = (
        t[f"detect.candidates.{n}"] for n in ("rows", "labels", "scores", "clipped", "keep")
    )
    who = 1000 * anchors[rows][of_proposal.astype(int)] + label
    order = np.argsort(-score, kind="stable")  # given by proposal, whose order may differ
    numbers = [(clipped[order].reshape(-1, 4), PIXELS), (score[order], SCORE)]
    yield "candidates", who[order], score[order], numbers
    yield "candidates.keep", who[keep.astype(int)], score[keep.astype(int)], []
    numbers = [(t["detections.boxes"].reshape(-1, 4), PIXELS), (t["detections.scores"], SCORE)]
    numbers += [
        (t["detections.labels"], 0),
        (t["detect.mask_probabilities"].reshape(-1, 784), MASK),
    ]
    yield "detections", who[t["detect.kept"].astype(int)], t["detections.scores"], numbers


def check_choices(page, config):
    """What the page chooses is to the last row what the package chooses of the page's numbers."""
    logits = np.split(np.float32(page["rpn.objectness"]), [v["first"] for v in page["levels"]][1:])
    starts = [level["first"] for level in page["levels"]]
    best = [
        s + top_k(v[None], config["pre_nms_top_n_test"])[0]
        for s, v in zip(starts, logits, strict=True)
    ]
    assert page["rpn.top_k"] == np.concatenate(best).tolist()
    boxes, scores = np.float32(page["rpn.clipped"]), np.float32(page["rpn.scores"])
    large = (boxes[:, 2:] - boxes[:, :2] >= np.float32(1e-3)).all(axis=1)
    fit = np.flatnonzero(large & (scores >= np.float32(config["score_thresh"])))
    levels = np.array(page["rpn.top_k_levels"])[fit]
    kept = batched_nms(boxes[fit], scores[fit], levels, config["nms_thresh"])
    assert page["rpn.keep"] == fit[kept].tolist()
    assert page["rpn.proposal_rows"] == page["rpn.keep"][: config["post_nms_top_n_test"]]
    assert page["rpn.proposals"] == [page["rpn.clipped"][i] for i in page["rpn.proposal_rows"]]


def compare(page, t):
    """Every choice equal, every number near."""
    assert [page["transform.sizes"]] == [list(size) for size in t["transform.sizes"]]
    expected = of_one_image(t)
    shown = {name: np.asarray(page[name]) for name in expected}
    check_choices(page, t["rpn.config"])
    np.testing.assert_allclose(
        shown["rpn.objectness"], expected["rpn.objectness"], rtol=1e-4, atol=1e-3
    )
    for (name, ids, _, numbers), (_, goals, scores, exact) in zip(
        stages(shown), stages(expected), strict=True
    ):
        assert sorted(ids) == sorted(goals), name
        place = {who: i for i, who in enumerate(ids.tolist())}
        order = np.array([place[who] for who in goals.tolist()], int)
        apart = np.abs(scores - scores[order.argsort()]) if len(scores) else np.zeros(0)
        assert (apart <= ROUNDING).all(), f"{name}: another order"
        for (values, _), (goal, tolerance) in zip(numbers, exact, strict=True):
            np.testing.assert_allclose(values[order], goal, rtol=0, atol=tolerance, err_msg=name)


@cache
def file_of(folder, model, dtype):
    path = folder / f"{id(model)}-{dtype}.html"
    path.write_text(play_page(model, "a model", dtype), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pages")


@pytest.mark.parametrize("dtype", ["f4", "f2"])
@pytest.mark.parametrize(("name", "count"), [("shapes", 14), ("nuclei", 6)])
def test_twenty_images(driver, folder, pytestconfig, name, count, dtype):
    model = tm.load_model(name)
    if dtype == "f2":
        round_weights(model)
    images = shapes(count) if name == "shapes" else nuclei(pytestconfig.rootpath / "data/nuclei")
    found = 0
    with opened(driver, file_of(folder, model, dtype)):
        for i, pixels in enumerate(images):
            page = seen_in_the_page(driver, pixels)
            compare(page, seen_by_the_package(model, pixels, "cpu" if i % 7 else "reference"))
            found += len(page["detect.kept"])
    assert len(images) == count and found >= 2 * count


def round_weights(model):
    """Give the model, norms folded in, the weights that float16 keeps of it."""
    modules = dict(model.named_modules())
    for name, (weight, bias, _) in folded_layers(model).items():
        layer = modules.get(name) or modules[name.rpartition(".")[0]]
        rounded = weight.astype(np.float16).astype(np.float32)  # O, taps, C
        if name not in modules:  # one of four parts of a transposed convolution
            r, s = divmod(int(name[-1]), 2)
            layer.weight.data[:, :, r, s] = rounded[:, 0].T
            layer.weight.changed()
        elif layer.weight.data.ndim == 4:
            layer.weight.data = rounded.transpose(0, 2, 1).reshape(layer.weight.shape)
            undo_norm(modules, name, bias)
        elif isinstance(layer, FlattenLinear):
            crops = rounded.reshape(len(weight), CROP_SIZE**2, -1).transpose(0, 2, 1)
            layer.weight.data = np.ascontiguousarray(crops).reshape(layer.weight.shape)
        else:
            layer.weight.data = rounded[:, 0]


def undo_norm(modules, name, bias):
    """Make the norm after a convolution add the bias and do nothing else."""
    parent, _, last = name.rpartition(".")
    norm = modules.get(f"{parent}.{NORMS.get(last)}")
    if norm is not None:
        one = np.float32(1)
        norm.weight.data, norm.bias.data = np.ones_like(bias), bias
        norm.running_mean[:], norm.running_var[:] = 0, one - np.float32(norm.eps)


VARIANTS = {
    "two blocks, group norm": {"norm": "group", "blocks": (2, 1, 1, 2)},
    "frozen, deep heads": {"norm": "frozen", "box_channels": (16,), "mask_channels": (8, 24)},
    "odd channels": {"fpn_channels": 30, "widths": (8, 12, 20, 36), "representation": 50},
    "grey, many classes": {"in_channels": 1, "num_classes": 12},
    "anchors, one NMS": {"aspect_ratios": (0.4, 1.0, 1.7, 2.5), "box_class_agnostic_nms": True},
    "a scale": {"scale": 1.5, "min_size": 64, "max_size": 64, "box_detections_per_img": 5},
    "other sizes": {"min_size": 150, "max_size": 300, "size_divisor": 8, "canonical_scale": 100},
}


def untrained(**settings):
    """A model whose random weights are large enough that its scores differ."""
    model = tm.maskrcnn_tiny(seed=3, **{"num_classes": 4, **settings}).eval()
    rng = np.random.default_rng(1)
    for name, module in model.named_modules():
        if hasattr(module, "running_var"):  # as after some training
            module.running_mean[:] = rng.normal(0, 0.3, module.running_mean.shape)
            module.running_var[:] = rng.uniform(0.5, 2, module.running_var.shape)
        if name.endswith(("cls_logits", "cls_score", "rpn.head.bbox_pred")):
            module.weight.data = (module.weight.data * 20).astype(np.float32)
    return model


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_model_of_the_family_on_images_of_any_size(driver, folder, variant):
    model = untrained(**VARIANTS[variant])
    rng = np.random.default_rng(5)
    pixels = shapes(1, size=96)[0][:, 10:80]
    sizes = [pixels, *(rng.integers(0, 255, (*s, 3)).astype(np.uint8) for s in ((33, 61), (7, 5)))]
    with opened(driver, file_of(folder, model, "f4")):
        for image in sizes:
            compare(seen_in_the_page(driver, image), seen_by_the_package(model, image, "cpu"))


@pytest.mark.parametrize("mode", ["pixels", "exact"])
def test_masks_are_pasted_as_the_package_pastes(driver, folder, mode):
    """What the views show of the masks, computed in the page itself."""
    model = tm.load_model("shapes", paste=mode)
    with opened(driver, file_of(folder, model, "f4")):
        page = seen_in_the_page(driver, shapes(1, seed=8)[0])
        boxes = np.float32(page["detections.boxes"])
        masks = np.float32(page["detect.mask_probabilities"]).reshape(-1, 28, 28)
        whole, pasted = driver.execute_script(
            "const [boxes, masks, exact] = arguments;"
            "const whole = boxes.map((b) => pasteBox(b.map(f), 28));"
            "return [whole, masks.map((mask, i) => {"
            "const p = pasteMask(mask, 28, exact ? boxes[i] : whole[i], [128, 128], exact);"
            "return {...p, values: [...p.values]}})]",
            *(boxes.tolist(), page["detect.mask_probabilities"], mode == "exact"),
        )
    assert len(boxes) and whole == paste_boxes(boxes, 28).tolist()
    for p, expected in zip(pasted, paste_masks(masks, boxes, 128, 128, mode), strict=True):
        rows = slice(p["top"], p["top"] + p["height"])
        part = expected[rows, p["left"] : p["left"] + p["width"]]
        shown = np.reshape(p["values"], part.shape)
        np.testing.assert_allclose(shown, part, rtol=0, atol=1e-5)
        assert np.count_nonzero(expected) == np.count_nonzero(part)


def test_any_region_is_answered_as_by_the_heads(driver, folder):
    """The second stage on boxes that are no proposals."""
    model, pixels = tm.load_model("shapes"), shapes(1, seed=9)[0]
    boxes = np.float32(
        [[10, 20, 90, 70], [0, 0, 256, 256], [100, 100, 101, 101], [40, 30, 60, 250]]
    )
    batch, _ = model.transform([np.ascontiguousarray(pixels.transpose(2, 0, 1) / np.float32(255))])
    with tm.no_grad():
        levels = model.backbone(tm.Tensor(batch.tensor))[:-1]
        pooled = model.roi_heads.box_pool(levels, [boxes], batch.sizes)
        logits, deltas = model.roi_heads.box_predictor(model.roi_heads.box_head(pooled.crops))
        scores = tm.functional.softmax(logits).numpy()
    with opened(driver, file_of(folder, model, "f4")):
        regions = json.loads(
            driver.execute_async_script(SEE_REGIONS, *sent(pixels), boxes.tolist())
        )
    for i, region in enumerate(regions):
        np.testing.assert_allclose(region["scores"], scores[i], rtol=0, atol=SCORE)
        assert region["level"] == pooled.levels[i]
        label = 1 + int(np.argmax(scores[i, 1:]))
        assert region["label"] == label
        own = deltas.numpy()[i].reshape(-1, 4)[label]
        np.testing.assert_allclose(region["deltas"], own, rtol=1e-4, atol=1e-3)
    assert len(regions) == len(boxes)
