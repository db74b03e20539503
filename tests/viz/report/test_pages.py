"""The pages as text: self-contained and complete, and the packed content comes back."""

import base64
import gzip
import json
import re

import numpy as np
import pytest

import tinymaskrcnn as tm
from tests.viz.test_figures import RANGES
from tinymaskrcnn.viz.report import explain_page, moment, timeline_page, trace_of
from tinymaskrcnn.viz.report.learning import collect_weights
from tinymaskrcnn.viz.report.pack import Pack

CLASSES = ["square", "circle", "triangle"]
DTYPES = {"f4": "<f4", "f2": "<f2", "u1": "u1", "u2": "<u2", "i2": "<i2", "i4": "<i4"}


def unpack(text):
    """What page/data.js does, written again: the JSON with every array in its place."""
    whole = gzip.decompress(base64.b64decode(text))
    length = int.from_bytes(whole[:4], "little")
    block = whole[4 + length :]
    assert (4 + length) % 8 == 0

    def revive(value):
        if isinstance(value, list):
            return [revive(part) for part in value]
        if isinstance(value, dict) and "$" in value:
            offset, dtype, shape = value["$"]
            count = int(np.prod(shape))
            return np.frombuffer(block, DTYPES[dtype], count, offset).reshape(shape)
        if isinstance(value, dict) and "$image" in value:
            offset, size, _ = value["$image"]
            return block[offset : offset + size]
        return {k: revive(v) for k, v in value.items()} if isinstance(value, dict) else value

    return revive(json.loads(whole[4 : 4 + length]))


def data_of(page):
    return re.search(r'<script type="text/plain" id="data">(.*?)</script>', page, re.S)[1].strip()


@pytest.fixture(scope="module")
def model():
    return tm.maskrcnn_tiny(min_size=64, max_size=64, box_score_thresh=0.2).eval()


@pytest.fixture(scope="module")
def shape():
    return tm.ToyShapes(3, size=64, min_objects=2, max_objects=3)[0]


def test_what_is_packed_comes_back():
    pack = Pack()
    rng = np.random.default_rng(0)
    values = {k: (rng.random((3, 5)) * 100).astype(d) for k, d in DTYPES.items()}
    content = {k: [pack.array(v, k)] for k, v in values.items()} | {"bad": float("nan")}
    found = unpack(pack.text(content))
    assert found.pop("bad") is None
    for kind, (array,) in found.items():
        np.testing.assert_array_equal(array, values[kind])


def test_the_page_needs_nothing_else(model, shape):
    page = explain_page(model, *shape[:1], CLASSES, shape[1], "a <b> & c")
    assert "<title>a &lt;b&gt; &amp; c" in page
    assert "%%" not in page.replace(data_of(page), "")
    outside_scripts = re.sub(r"<script.*?</script>", "", page, flags=re.S)
    addresses = re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>)]+)""", outside_scripts)
    assert addresses == ["data:,"]
    for loading in (
        "fetch(",
        "XMLHttpRequest",
        "@import",
        "url(",
        "import(",
        "https:",
        "<link rel=s",
    ):
        assert loading not in page, loading
    assert "http:" not in page.replace("http://www.w3.org/2000/svg", "")


def test_the_data_are_those_of_the_trace(model, shape):
    image, target = shape
    page = explain_page(model, image, CLASSES, target, "x")
    content, t = unpack(data_of(page)), trace_of(model, image, target)
    np.testing.assert_array_equal(content["rpn"]["clipped"], t["rpn.clipped"][0])
    np.testing.assert_array_equal(content["rpn"]["proposals"], t["rpn.proposal_rows"][0])
    np.testing.assert_array_equal(content["regions"]["scores"], t["detect.scores"][0])
    c = content["candidates"]
    np.testing.assert_array_equal(c["original"][c["kept"]], t["detections.boxes"][0])
    np.testing.assert_array_equal(c["masks"][: len(c["kept"])], t["detect.mask_probabilities"])
    assert c["maskOf"][: len(c["kept"])] == c["kept"]
    losses = {name: float(value) for name, value in t["losses"].items()}
    assert content["learning"]["losses"] == pytest.approx(losses)
    assert len(content["weights"]) == len(model.state_dict())


def test_without_a_target_nothing_of_learning(model, shape):
    content = unpack(data_of(explain_page(model, shape[0], CLASSES)))
    assert content["learning"] is None


def test_masks_of_other_candidates_are_the_models(model, shape):
    """A candidate that only another threshold would show has the mask that it would then get."""
    from dataclasses import replace

    c = unpack(data_of(explain_page(model, shape[0], CLASSES)))["candidates"]
    heads, config = model.roi_heads, model.roi_heads.config
    heads.config = replace(config, score_thresh=0.15, nms_thresh=1.0, detections_per_img=1000)
    try:
        (found,) = model.detect([shape[0]])
    finally:
        heads.config = config
    place = {tuple(b): i for i, b in enumerate(found.boxes.tolist())}
    compared = 0
    for candidate, mask in zip(c["maskOf"], c["masks"], strict=True):
        i = place.get(tuple(c["original"][candidate].tolist()))
        if i is not None and found.labels[i] == c["labels"][candidate]:
            np.testing.assert_allclose(mask, found.mask_probabilities[i], atol=1e-5)
            compared += 1
    assert compared > len(c["kept"])


def test_the_model_is_left_as_it_was(model, shape):
    before = {k: v.copy() for k, v in model.state_dict().items()}
    explain_page(model, *shape[:1], CLASSES, shape[1])
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)
    assert all(p.grad is None for p in model.parameters())


def test_empty_pictures_and_grey_ones(shape):
    empty = {"boxes": np.zeros((0, 4)), "labels": np.zeros(0, int), "masks": np.zeros((0, 64, 64))}
    model = tm.maskrcnn_tiny(min_size=64, max_size=64, in_channels=1, box_score_thresh=0.99).eval()
    content = unpack(data_of(explain_page(model, shape[0][:1], CLASSES, empty)))
    assert content["candidates"]["kept"] == []
    assert content["learning"]["mistakes"]["objects"] == 0


def test_a_timeline_holds_its_moments(model, shape):
    image, target = shape
    texts = [
        moment(model, trace_of(model, image, target), CLASSES, step, "x", "a.html")
        for step in (0, 8)
    ]
    page = timeline_page(texts, "run")
    assert [unpack(line)["step"] for line in data_of(page).split("\n")] == [0, 8]


def test_pages_repeat_byte_for_byte(model, shape):
    pages = [explain_page(model, *shape[:1], CLASSES, shape[1]) for _ in range(2)]
    assert pages[0] == pages[1]


def test_weights_of_any_range_have_a_histogram():
    pack = Pack()
    rows = unpack(pack.text(collect_weights(pack, RANGES)))
    for row, values in zip(rows, RANGES.values(), strict=True):
        assert row["histogram"].sum() == np.isfinite(values).sum(), row["name"]


def test_a_title_that_is_no_text_is_shown_as_far_as_it_is_one(model, shape):
    assert r"<title>l\udce9.png" in explain_page(model, shape[0], CLASSES, title="l\udce9.png")
