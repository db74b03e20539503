"""The pages in headless Chromium: sliders show what NumPy computes, and hovering shows what the
trace holds; keyboard, widths, and no error in the console.
"""

from dataclasses import replace

import numpy as np
import pytest

import tinymaskrcnn as tm
from tests.browsers import opened
from tests.viz.report.driving import field, go, hover, slide, text
from tinymaskrcnn.detection.boxes import clip_boxes
from tinymaskrcnn.evaluation import coco_annotations, coco_results, image_errors
from tinymaskrcnn.ops.nms.reference import batched_nms
from tinymaskrcnn.ops.paste_masks.reference import paste_masks_binary
from tinymaskrcnn.viz.report import moment, timeline_page, trace_of

pytestmark = pytest.mark.browser


# ---- sliders


@pytest.mark.parametrize(
    ("score", "nms"),
    [(0.5, 0.5), (0.05, 0.5), (0.01, 0.3), (0.9, 0.5), (0.2, 0.0), (0.03, 0.9), (0.01, 1.0)],
)
def test_thresholds_show_as_many_as_the_model_finds(page, subject, score, nms):
    model, _, image, _ = subject
    heads, config = model.roi_heads, model.roi_heads.config
    heads.config = replace(config, score_thresh=score, nms_thresh=nms)
    try:
        (found,) = model.detect([image])
    finally:
        heads.config = config
    go(page, "result")
    slide(page, "score-threshold", score)
    slide(page, "nms-threshold", nms)
    assert int(text(page, "#shown-count")) == len(found)
    shown = page.execute_script(
        "return page.built.hits.map((h) => [...page.content.candidates.original.row(h.key)])"
    )
    np.testing.assert_array_equal(np.array(shown, np.float32).reshape(-1, 4), found.boxes)


@pytest.mark.parametrize("threshold", [0.1, 0.4, 0.95])
def test_rpn_threshold_shows_as_many_as_nms_keeps(page, subject, t, threshold):
    model = subject[0]
    fit = np.flatnonzero(~np.isin(t["rpn.outcomes"][0], (1, 2)))
    boxes, scores = t["rpn.clipped"][0][fit], t["rpn.scores"][0][fit]
    kept = batched_nms(boxes, scores, t["rpn.top_k_levels"][fit], threshold)
    go(page, "proposals")
    slide(page, "rpn-nms", threshold)
    expected = min(len(kept), model.rpn.config.post_nms_top_n_test)
    assert int(text(page, "#proposal-count")) == expected


@pytest.mark.parametrize("threshold", [0.02, 0.35, 0.5, 0.9])
def test_mask_threshold_fills_as_many_pixels(page, subject, t, threshold):
    image = subject[2]
    go(page, "result")
    slide(page, "mask-threshold", threshold)
    kept = t["detect.kept"][0][:5]
    masks, boxes = t["detect.mask_probabilities"][: len(kept)], t["detections.boxes"][0][:5]
    filled = paste_masks_binary(masks, boxes, *image.shape[1:], np.float32(threshold))
    for i, expected in enumerate(filled.sum(axis=(1, 2))):
        page.execute_script("page.focus(page.content.candidates.kept[arguments[0]])", i)
        assert int(field(page, "mask-pixels").replace(",", "")) == expected


# ---- hovering


def test_hovering_a_detection_shows_its_numbers(page, t):
    go(page, "result")
    rows, labels = (t[f"detect.candidates.{n}"][0][t["detect.kept"][0]] for n in ("rows", "labels"))
    boxes = t["detect.candidates.clipped"][0][t["detect.kept"][0]]
    i = 1
    hover(page, boxes[i])
    assert page.execute_script("return page.focused") == page.execute_script(
        "return page.content.candidates.kept[arguments[0]]", i
    )
    score = t["detect.scores"][0][rows[i], labels[i]]
    assert float(field(page, "score")) == pytest.approx(score, abs=5e-5)
    shown = [float(v) for v in field(page, "box").split()]
    np.testing.assert_allclose(shown, t["detections.boxes"][0][i], atol=0.06)
    proposal = [float(v) for v in field(page, "proposal").split()]
    np.testing.assert_allclose(proposal, t["rpn.proposals"][0][rows[i]], atol=0.06)
    row = t["rpn.proposal_rows"][0][rows[i]]
    level = int(t["rpn.top_k_levels"][row])
    assert field(page, "anchor") == f"{t['rpn.top_k'][0][row]} on P{2 + level}"
    assert field(page, "level") == f"P{2 + t['detect.box_pool.levels'][rows[i]]}"
    assert float(field(page, "objectness")) == pytest.approx(t["rpn.scores"][0][row], abs=5e-5)
    paste = [float(v) for v in field(page, "paste-box").split()]
    assert paste == t["detections.paste_boxes"][0][i].tolist()


def test_hovering_a_proposal_shows_its_points(page, t):
    go(page, "levels")
    page.execute_script("page.focus(3)")
    pool = "detect.box_pool"
    point = [float(v) for v in field(page, "point").split(", ")]
    expected = [t[f"{pool}.points_x"][3, 0], t[f"{pool}.points_y"][3, 0]]
    np.testing.assert_allclose(point, expected, atol=0.006)


def test_a_dropped_proposal_says_why(page, t):
    go(page, "proposals")
    page.execute_script("page.set('outcome', 'overlap')")
    row = page.execute_script("page.focus(page.built.hits[0].key); return page.focused")
    boxes, winner = t["rpn.clipped"][0], t["rpn.suppressors"][0][row]
    iou = tm.box_iou(boxes[row : row + 1], boxes[winner : winner + 1])[0, 0]
    assert f"by IoU {iou:.2f}" in field(page, "why")
    assert f"objectness {t['rpn.scores'][0][winner]:.3f}" in field(page, "why")


def test_dropped_candidates_of_every_kind_say_why(page):
    go(page, "filters")
    slide(page, "score-threshold", 0.3)
    for outcome, reason in (("overlap", "with a higher score"), ("lowScore", "is not above 0.30")):
        page.execute_script("page.set('outcome', arguments[0])", outcome)
        page.execute_script("page.focus(page.built.hits[0].key)")
        assert reason in field(page, "why")


def test_candidates_boxes_are_decoded_as_the_model_does(page, subject, t):
    """For every candidate above the floor, including those that the model's own thresholds drop."""
    heads = subject[0].roi_heads
    scores = t["detect.scores"][0]
    rows, labels = np.nonzero(scores[:, 1:] > 0.01)
    deltas = t["detect.box_deltas"].reshape(*scores.shape, 4)[rows, labels + 1]
    boxes = heads.box_coder.decode(deltas, t["rpn.proposals"][0][rows])[:, 0]
    shown = page.execute_script("return [...page.content.candidates.boxes.data]")
    expected = clip_boxes(boxes, t["transform.sizes"][0])
    np.testing.assert_array_equal(np.array(shown, np.float32).reshape(-1, 4), expected)


@pytest.mark.parametrize("score", [0.05, 0.3, 0.5, 0.9, 0.99])
def test_mistakes_at_a_threshold_are_those_of_evaluate(page, subject, t, score):
    """Wrong detections and missed objects with their kinds, as `evaluate --errors` gives them."""
    model, _, image, target = subject
    (found,) = model.detect([image])
    errors = image_errors(coco_annotations(target, 1), coco_results(found, 1), "bbox", score)
    go(page, "mistakes")
    slide(page, "mistake-score", score)
    shown = page.execute_script(
        "const e = errorsFrom(page.content, arguments[0]), m = page.content.learning.mistakes;"
        "return [e.found.length, e.wrong.map((k) => [k, m.kinds[k]]),"
        "e.missed.map((x) => [x.truth, x.reason])]",
        float(page.find_element("id", "mistake-score").get_attribute("value")),
    )
    assert shown[0] == len(errors.found)
    assert shown[1] == sorted([w.detection, w.kind] for w in errors.wrong)
    assert shown[2] == [[m.truth, m.reason] for m in errors.missed]
    counts = [len(errors.found), len(errors.wrong), len(errors.missed)]
    assert text(page, "#mistake-count") == "{} right, {} wrong, {} missed".format(*counts)


# ---- people


def steps_of(page):
    return page.execute_script("return page.steps.map((s) => s.id)")


def test_every_step_by_keys_and_back(page):
    from selenium.webdriver.common.keys import Keys

    steps = steps_of(page)
    assert len(steps) == 21
    body = page.find_element("tag name", "body")
    for key, order in ((Keys.ARROW_RIGHT, steps), (Keys.ARROW_LEFT, steps[::-1])):
        for step in order[1:]:
            body.send_keys(key)
            assert page.execute_script("return page.step.id") == step
            assert text(page, "#title") and text(page, "#details")
            assert "[object" not in text(page, "#app") and "undefined" not in text(page, "#app")


def test_arrow_keys_on_a_slider_move_the_slider(page):
    from selenium.webdriver.common.keys import Keys

    go(page, "result")
    page.find_element("id", "score-threshold").send_keys(Keys.ARROW_RIGHT)
    assert page.execute_script("return [page.step.id, page.state.score]") == ["result", 0.51]


@pytest.mark.parametrize("step", ["anchors", "objectness"])
def test_cells_can_be_walked_with_keys(page, step):
    """Shift with an arrow key moves to the next cell; the details are that cell's."""
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    go(page, step)
    page.execute_script("page.set('level', 2)")
    cell = "return cellOf(page.content.anchors[2], page.state.cell || [128, 128])"
    columns = page.execute_script("return page.content.anchors[2].columns")
    seen = [page.execute_script(cell)]
    for key in (Keys.ARROW_RIGHT, Keys.ARROW_DOWN, Keys.ARROW_LEFT, Keys.ARROW_UP):
        ActionChains(page).key_down(Keys.SHIFT).send_keys(key).key_up(Keys.SHIFT).perform()
        seen.append(page.execute_script(cell))
    assert np.diff(seen).tolist() == [1, columns, -1, -columns]
    assert page.execute_script("return page.step.id") == step


def test_everything_that_reacts_can_be_reached_by_tab(page):
    """Tab visits the steps, the sliders and every detection, which then shows its details."""
    from selenium.webdriver.common.keys import Keys

    go(page, "result")
    page.execute_script("document.activeElement.blur()")
    wanted = set(steps_of(page)) | {"score-threshold", "nms-threshold", "mask-threshold", "own"}
    visited, details = set(), set()
    chips = page.execute_script("return page.built.hits.length")
    for _ in range(len(wanted) + chips + 8):
        page.switch_to.active_element.send_keys(Keys.TAB)
        element = page.switch_to.active_element
        visited.add((element.get_attribute("id") or "").removeprefix("go-"))
        if element.get_attribute("data-key"):
            details.add(text(page, "#details h3"))
    assert wanted <= visited
    assert len(details) == chips


@pytest.mark.parametrize("width", [390, 1280])
def test_no_step_is_wider_than_the_window(driver, explained, width):
    with opened(driver, explained.as_uri(), width):
        for step in steps_of(driver):
            go(driver, step)
            wide = driver.execute_script("return document.documentElement.scrollWidth")
            assert wide <= width, step


def test_the_picture_itself_is_drawn(page):
    """The middle of the canvas is neither empty nor of one colour."""
    go(page, "picture")
    spread = page.execute_script(
        "const c = page.stage.canvas;"
        "const d = c.getContext('2d').getImageData(c.width / 4, c.height / 4,"
        "c.width / 2, c.height / 2).data; return new Set(d).size"
    )
    assert spread > 50


# ---- while it learns


def test_the_timeline_scrubs(driver, subject, tmp_path):
    _, classes, image, target = subject
    texts, counts = [], []
    for step, seed in ((0, 0), (50, 1)):
        model = tm.maskrcnn_tiny(num_classes=len(classes) + 1, seed=seed).eval()
        trace = trace_of(model, image, target)
        counts.append(len(trace["rpn.proposals"][0]))
        texts.append(moment(model, trace, classes, step, "a picture", f"step-{step}.html"))
    path = tmp_path / "index.html"
    path.write_text(timeline_page(texts, "run"))
    for width in (390, 1280):
        with opened(driver, path.as_uri(), width):
            driver.execute_script("page.set('view', 'proposals')")
            for at, count in enumerate(counts):
                slide(driver, "moment", at)
                assert text(driver, "#count").startswith(f"{count} proposals after {(0, 50)[at]} ")
                for view in ("anchors", "objectness", "detections", "proposals"):
                    driver.execute_script("page.set('view', arguments[0])", view)
                    wide = driver.execute_script("return document.documentElement.scrollWidth")
                    assert wide <= width
                    assert "[object" not in text(driver, "body")


def test_the_timeline_by_keys(driver, subject, tmp_path):
    """Arrow keys go through the moments; Tab reaches the views, the player and the slider."""
    from selenium.webdriver.common.keys import Keys

    model, classes, image, target = subject
    trace = trace_of(model, image, target)
    texts = [moment(model, trace, classes, step, "a picture", "a.html") for step in (0, 7, 30)]
    path = tmp_path / "index.html"
    path.write_text(timeline_page(texts, "run"))
    with opened(driver, path.as_uri()):
        driver.execute_script("page.stop(); page.move(2)")
        body = driver.find_element("tag name", "body")
        for key, step in ((Keys.ARROW_LEFT, "7"), (Keys.ARROW_LEFT, "0"), (Keys.ARROW_RIGHT, "7")):
            body.send_keys(key)
            assert text(driver, 'output[for="moment"]') == step
        visited = set()
        for _ in range(15):
            driver.switch_to.active_element.send_keys(Keys.TAB)
            visited.add(driver.switch_to.active_element.get_attribute("id"))
        views = {f"go-{name}" for name in ("detections", "proposals", "anchors", "objectness")}
        assert views | {"play", "moment", "score-threshold"} <= visited
