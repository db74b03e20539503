"""The page of every stage as a learner uses it, in headless Chromium: follow one object through all
steps, see few boxes first, read details on a phone, ask how a number came about, and drag a box.
"""

import re

import numpy as np
import pytest

import tinymaskrcnn as tm
from tests.browsers import faint_texts, media, opened
from tests.viz.report.driving import field, go, slide, text
from tinymaskrcnn.detection.box_coder import BoxCoder
from tinymaskrcnn.viz.report import moment, timeline_page, trace_of

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def parts(subject, t):
    """Of the second detection: its row among the proposals, and the row of its anchor."""
    kept = t["detect.kept"][0][1]
    row = int(t["detect.candidates.rows"][0][kept])
    return {"region": row, "anchor": int(t["rpn.proposal_rows"][0][row])}


# ---- one object through all steps


def test_what_is_picked_stays_picked_at_every_step(page, t, parts):
    """From a click on a detection to its proposal, anchor and object, and back; Escape lets go."""
    from selenium.webdriver.common.keys import Keys

    candidate = page.execute_script("return page.content.candidates.kept[1]")
    truth = page.execute_script("return page.content.learning.mistakes.matches[1]")
    assert truth >= 0
    go(page, "result")
    page.find_element("css selector", f'.chips [data-key="{candidate}"]').click()
    expected = {
        "refine": parts["anchor"],
        "proposals": parts["anchor"],
        "levels": parts["region"],
        "classes": parts["region"],
        "filters": candidate,
        "result": candidate,
        "mistakes": candidate,
        "truth": truth,
    }
    body = page.find_element("tag name", "body")
    go(page, "overview")
    for step in page.execute_script("return page.steps.map((s) => s.id)")[1:]:
        body.send_keys(Keys.ARROW_RIGHT)
        assert page.execute_script("return page.step.id") == step
        if step in expected:
            assert page.execute_script("return page.focused") == expected[step], step
        assert f"proposal {parts['region']}" in text(page, "#thread"), step
    go(page, "masks")
    assert page.execute_script("return page.state.mine") == candidate
    go(page, "matching")
    assert page.execute_script("return page.state.truth") == truth
    go(page, "sampling")  # an anchor drawn for this object, or none was drawn
    drawn = t["rpn.match.decisions"][0][t["rpn.sample.indices"][0]]
    focused = page.execute_script("return page.focused")
    assert drawn[focused] == truth if (drawn == truth).any() else focused is None
    go(page, "objectness")
    anchor = t["rpn.anchors"][t["rpn.top_k"][0][parts["anchor"]]]
    cell = page.execute_script("return page.state.cell")
    np.testing.assert_allclose(cell, [anchor[[0, 2]].mean(), anchor[[1, 3]].mean()], atol=1e-3)
    body.send_keys(Keys.ESCAPE)
    assert page.execute_script("return [page.thread, page.focused]") == [None, None]


def test_the_address_keeps_what_is_followed(driver, explained, page, parts):
    go(page, "result")
    page.execute_script("page.pin(page.content.candidates.kept[1])")
    go(page, "levels")
    address = page.execute_script("return location.href")
    with opened(driver, address):
        assert driver.execute_script("return page.step.id") == "levels"
        assert driver.execute_script("return page.focused") == parts["region"]
    with opened(driver, f"{explained.as_uri()}#nowhere/c99999"):
        assert driver.execute_script("return [page.step.id, page.thread]") == ["overview", None]


def test_the_overview_counts_and_leads_to_each_step(page, t):
    go(page, "overview")
    counts = {
        "cells": sum(level.shape[1] * level.shape[2] for level in t["backbone.pyramid"]),
        "anchors": len(t["rpn.anchors"]),
        "moved": len(t["rpn.top_k"][0]),
        "proposals": len(t["rpn.proposals"][0]),
        "pairs": t["detect.scores"][0][:, 1:].size,
        "detections": len(t["detections.boxes"][0]),
    }
    for name, count in counts.items():
        assert field(page, f"count-{name}") == f"{count:,}", name
    nodes = page.execute_script(
        "return [...document.querySelectorAll('.flow button')].map((b) => b.dataset.step)"
    )
    assert {"picture", "pyramid", "proposals", "masks", "losses"} <= set(nodes)
    for step in nodes:
        go(page, "overview")
        page.execute_script(
            "document.querySelector(`.flow [data-step=${arguments[0]}]`).click()", step
        )
        assert page.execute_script("return page.step.id") == step


# ---- few boxes first


@pytest.mark.parametrize("few", [1, 4])
def test_the_best_few_of_each_object_are_strong(page, t, few):
    go(page, "proposals")
    slide(page, "few", few)
    objects = np.array(page.execute_script("return page.objects.map((o) => [...o.box])"))
    boxes, scores = t["rpn.clipped"][0], t["rpn.scores"][0]
    rows = t["rpn.proposal_rows"][0]
    rows = rows[np.lexsort((rows, -scores[rows]))]
    iou = tm.box_iou(boxes[rows], objects.astype(np.float32))
    of = np.where(iou.max(axis=1) >= 0.3, len(objects) - 1 - iou[:, ::-1].argmax(axis=1), -1)
    expected = [int(r) for g in range(len(objects)) for r in rows[of == g][:few]]
    strong = "return page.built.hits.filter((h) => h.strong).map((h) => h.key)"
    assert sorted(page.execute_script(strong)) == sorted(expected)
    assert 0 < len(expected) < len(rows)
    slide(page, "few", 13)
    assert text(page, 'output[for="few"]') == "all"
    assert len(page.execute_script(strong)) == len(rows)


def test_a_followed_object_has_the_strong_boxes_alone(page):
    go(page, "levels")
    page.execute_script("document.querySelector('.strip [data-object=\"1\"]').click()")
    groups = page.execute_script("return page.built.hits.filter((h) => h.strong).map((h) => h.of)")
    assert groups and set(groups) == {1}


def test_the_picture_fills_the_stage(page):
    """Fine anchors need little margin, and no bar stands left or right of a square image."""
    share = (
        "const s = page.stage; return [s.size[0] * s.scale / s.canvas.width,"
        "s.canvas.getBoundingClientRect().width / s.canvas.getBoundingClientRect().height]"
    )
    go(page, "anchors")
    page.execute_script("page.set('level', 0)")
    fine, _ = page.execute_script(share)
    page.execute_script("page.set('level', 3)")
    coarse, _ = page.execute_script(share)
    assert fine > 0.85 > coarse
    go(page, "proposals")
    filled, ratio = page.execute_script(share)
    width, height = page.execute_script("return page.stage.size")
    assert filled == pytest.approx(1, abs=0.01)
    assert ratio == pytest.approx(width / height, abs=0.01)


# ---- in the dark, and on a phone


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out(driver, explained, scheme):
    with media(driver, prefers_color_scheme=scheme), opened(driver, explained.as_uri()):
        ground = "return getComputedStyle(document.documentElement).backgroundColor"
        assert (max(map(int, re.findall(r"\d+", driver.execute_script(ground)))) < 60) == (
            scheme == "dark"
        )
        for step in driver.execute_script("return page.steps.map((s) => s.id)"):
            go(driver, step)
            assert faint_texts(driver) == [], step


def test_a_tap_shows_the_details_over_the_page(driver, explained):
    finger = media(driver, hover="none", prefers_reduced_motion="reduce")
    with finger, opened(driver, explained.as_uri(), 390, 844):
        go(driver, "result")
        hidden = "return getComputedStyle(document.getElementById('details')).display"
        assert driver.execute_script(hidden) == "none"
        driver.execute_script(
            "const s = page.stage, b = page.built.hits[1].box;"
            "const r = s.canvas.getBoundingClientRect();"
            "const [x, y] = s.place((b[0] + b[2]) / 2, (b[1] + b[3]) / 2);"
            "s.canvas.dispatchEvent(new MouseEvent('click', {bubbles: true,"
            "clientX: r.left + x * r.width / s.canvas.width,"
            "clientY: r.top + y * r.height / s.canvas.height}))"
        )
        place = driver.execute_script(
            "const d = document.getElementById('details').getBoundingClientRect();"
            "const s = page.stage.canvas.getBoundingClientRect();"
            "return [d.top, d.bottom, s.bottom]"
        )
        assert 300 < place[0] < 700 and place[1] <= 844
        assert place[2] <= place[0]  # the image is above the details, not under them
        assert field(driver, "score")
        driver.find_element("id", "sheet").click()
        assert driver.execute_script(hidden) == "none"
        for step in driver.execute_script("return page.steps.map((s) => s.id)"):
            go(driver, step)
            words = driver.execute_script("return document.querySelector('.main').innerText")
            assert not re.search(r"\b(hover|click|shift)\b", words, re.I), step


# ---- how a number came about


@pytest.mark.parametrize("cell", [(0, 0), (20, 33), (127, 64)])
def test_the_first_layer_adds_up_to_what_the_network_computes(page, subject, t, cell):
    model = subject[0]
    body = model.backbone.body
    with tm.no_grad():
        y = body.bn1(body.conv1(tm.Tensor(t["transform.batch"])), relu=True).numpy()[0]
    go(page, "backbone")
    page.execute_script("page.set('backbone', 'stem')")
    for channel in range(8):
        page.execute_script(
            "page.set('channel', arguments[0] + 1); page.built.move(arguments[1])",
            channel,
            [2 * cell[1], 2 * cell[0]],
        )
        expected = y[cell[0], cell[1], channel]
        assert float(field(page, "first-value")) == pytest.approx(expected, abs=0.02)


def test_a_merged_cell_is_its_lateral_and_the_cell_above(page, t):
    go(page, "pyramid")
    page.execute_script("page.set('pyramid', 'merged'); page.set('level', 1)")
    page.execute_script("page.set('channel', 3); page.built.move([80, 104])")
    lateral, above = t["backbone.laterals"][1][0], t["backbone.merged"][2][0]
    spread = float(np.ptp(lateral[..., 2]) + np.ptp(above[..., 2])) / 255 + 0.01
    assert float(field(page, "lateral")) == pytest.approx(lateral[13, 10, 2], abs=spread)
    assert float(field(page, "above")) == pytest.approx(above[6, 5, 2], abs=spread)
    merged = t["backbone.merged"][1][0, 13, 10, 2]
    assert float(field(page, "sum").split("=")[1]) == pytest.approx(merged, abs=spread)


def levels_of(t, subject, kind):
    """The maps (H, W, C) whose sums the page shows."""
    if kind != "objectness":
        return [level[0] for level in t[KINDS[kind]]]
    ends = np.cumsum(t["rpn.level_sizes"])[:-1]
    logits = np.split(t["rpn.objectness"][0], ends)
    sizes = [level.shape[1:3] for level in t["backbone.pyramid"]]
    return [part.reshape(*size, -1) for part, size in zip(logits, sizes, strict=True)]


KINDS = {
    "laterals": "backbone.laterals",
    "pyramid": "backbone.pyramid",
    "hidden": "rpn.hidden",
}


@pytest.mark.parametrize("kind", [*KINDS, "objectness"])
@pytest.mark.parametrize("level", [0, 2, 4])
def test_a_layer_adds_up_to_what_the_network_computes(page, subject, t, kind, level):
    """At a corner, where the kernel reaches over the edge, and inside."""
    maps = levels_of(t, subject, kind)
    if level >= len(maps) or (kind, level) == ("pyramid", 4):
        pytest.skip("the last level is pooled: it has no sum")
    stride = page.execute_script("return page.content.anchors[arguments[0]].stride", level)
    go(page, "pyramid" if kind in KINDS else "objectness")
    if kind in KINDS:
        page.execute_script("page.set('pyramid', arguments[0]); page.set('channel', 4)", kind)
    page.execute_script("page.set('level', arguments[0])", level)
    rows, columns, _ = maps[level].shape
    for row, column in ((0, 0), (rows - 1, columns // 2), (rows // 2, columns // 3)):
        page.execute_script("page.built.move(arguments[0])", [column * stride[1], row * stride[0]])
        cell = maps[level][row, column]
        total = float(field(page, "layer-sum").split(" = ")[1])
        total = max(total, 0) if kind == "hidden" else total
        assert total == pytest.approx(
            float(cell.max() if kind == "objectness" else cell[3]), abs=0.02
        )


def test_a_bin_of_roi_align_is_the_mean_of_its_samples(page, t, parts):
    crops = t["detect.box_pool.crops"][parts["region"]][:, :, 0]
    level = t["backbone.pyramid"][t["detect.box_pool.levels"][parts["region"]]][0, :, :, 0]
    shade = float(np.ptp(level)) / 255 + 0.01
    go(page, "levels")
    page.execute_script("page.focus(arguments[0])", parts["region"])
    for bin in (0, 24, 47):
        slide(page, "bin", bin)
        expected = crops[bin // 7, bin % 7]
        assert float(field(page, "bin")) == pytest.approx(float(expected), abs=shade)


# ---- what if


@pytest.mark.parametrize("step", ["levels", "matching"])
def test_dragging_a_box_changes_its_iou_level_and_offsets(page, subject, t, step):
    from selenium.webdriver import ActionChains

    model = subject[0]
    truth = t["transform.targets"][0]["boxes"]
    go(page, step)
    page.execute_script("document.getElementById('what-if').click()")
    before = [float(v) for v in field(page, "tried").split()]
    canvas = page.find_element("css selector", ".stage canvas")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    offset = page.execute_script(
        "const s = page.stage, b = page.tried, r = s.canvas.getBoundingClientRect();"
        "const [x, y] = s.place((b[0] + b[2]) / 2, (b[1] + b[3]) / 2);"
        "return [x - s.canvas.width / 2, y - s.canvas.height / 2]"
        ".map((v) => Math.round(v * r.width / s.canvas.width))"
    )
    pull = ActionChains(page).move_to_element_with_offset(canvas, *offset).click_and_hold()
    pull.move_by_offset(-31, 17).release().perform()
    box = np.array([page.execute_script("return page.tried")], np.float32)
    assert np.abs(box[0] - before).max() > 5
    iou = tm.box_iou(box, truth.astype(np.float32))[0]
    shown = page.execute_script(
        "return [...document.querySelectorAll('#details .bar b')].map((b) => b.textContent)"
    )
    np.testing.assert_allclose([float(v) for v in shown], iou, atol=6e-4)
    scales = [1 / s for s in page.execute_script("return page.content.regions.strides")][:-1]
    level = model.roi_heads.box_pool.level_of(box, scales)[0]
    assert field(page, "tried-level").startswith(f"P{2 + level}:")
    coder = model.roi_heads.box_coder if step == "levels" else BoxCoder()
    expected = coder.encode(truth[iou.argmax()][None], box)[0]
    offsets = [float(field(page, f"tried-{n}").split("=")[0]) for n in ("dx", "dy", "dw", "dh")]
    np.testing.assert_allclose(offsets, expected, atol=2e-3)
    config = model.rpn.config if step == "matching" else model.roi_heads.config
    says = field(page, "tried-state")
    assert ("positive:" in says or "teach class" in says) == (iou.max() >= config.fg_iou_thresh)


def test_a_box_moves_by_keys(page):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    go(page, "levels")
    page.execute_script("document.getElementById('what-if').click()")
    page.execute_script("tryBox(page, [60, 60, 100, 120])")
    ActionChains(page).key_down(Keys.SHIFT).send_keys(Keys.ARROW_LEFT).key_up(Keys.SHIFT).perform()
    assert page.execute_script("return [...page.tried]") == [59, 60, 99, 120]
    ActionChains(page).send_keys("-").perform()
    assert page.execute_script("return [...page.tried]") == [60, 61, 98, 119]


def test_questions_know_their_answers(page, subject):
    """Each says right to one choice and not to the others; the level is the model's."""
    asked = page.execute_script("return Object.keys(QUESTIONS)")
    for step in asked:
        go(page, step)
        buttons = page.find_elements("css selector", ".question button")
        verdicts = []
        for button in buttons:
            page.execute_script("arguments[0].click()", button)
            verdicts.append((text(page, ".question .answer").split(".")[0], button.text))
        assert [v for v, _ in verdicts].count("Right") == 1, step
        assert len(verdicts) >= 2
        if step == "levels":
            strides = page.execute_script("return page.content.regions.strides")[:-1]
            box = np.array([[0, 0, 300, 300]], np.float32)
            level = subject[0].roi_heads.box_pool.level_of(box, [1 / s for s in strides])[0]
            assert ("Right", f"P{2 + level}") in verdicts


def test_each_step_has_a_lesson_and_its_code(page, pytestconfig):
    for step in page.execute_script("return page.steps.map((s) => s.id)"):
        go(page, step)
        topic = text(page, "#lesson code").split()[-1]
        assert list(pytestconfig.rootpath.glob(f"lessons/[0-9]*_{topic}.py")), topic
        if page.execute_script("return !!document.getElementById('code')"):
            source, file = text(page, "#code pre"), text(page, "#code .fine")
            lines = [line.strip() for line in source.splitlines() if line.strip()]
            whole = (pytestconfig.rootpath / file).read_text()
            assert all(line in whole for line in lines), step


# ---- while it learns


@pytest.fixture(scope="module")
def timeline(subject, t, tmp_path_factory):
    model, classes, image, target = subject
    fresh = tm.maskrcnn_tiny(num_classes=len(classes) + 1, seed=0).eval()
    path = tmp_path_factory.mktemp("timeline") / "index.html"
    traces = {0: (fresh, trace_of(fresh, image, target)), 30: (model, t), 900: (model, t)}
    texts = [moment(m, x, classes, step, "a picture", "a.html") for step, (m, x) in traces.items()]
    path.write_text(timeline_page(texts, "run"))
    return path


def test_the_timeline_starts_at_the_beginning_and_plays_once(driver, timeline):
    shown = "return [page.state.at, !!page.timer]"
    with media(driver, prefers_reduced_motion="reduce"), opened(driver, timeline.as_uri()):
        assert driver.execute_script(shown) == [0, False]
    with media(driver, prefers_reduced_motion="no-preference"), opened(driver, timeline.as_uri()):
        seen = driver.execute_async_script(
            "const done = arguments[0], seen = [];"
            "const watch = setInterval(() => { seen.push(page.state.at);"
            "if (!page.timer) { clearInterval(watch); done(seen); } }, 100)"
        )
    assert sorted(set(seen)) == [0, 1, 2] and seen == sorted(seen)


def test_the_timeline_shows_one_of_several_images(driver, subject, t, tmp_path):
    model, classes, image, target = subject
    second = np.ascontiguousarray(image[:, ::-1, :100])
    none = {"boxes": target["boxes"][:0], "labels": target["labels"][:0]}
    none["masks"] = np.zeros((0, *second.shape[1:]), np.uint8)
    traces = {"first": t, "second": trace_of(model, second, none)}
    texts = [
        moment(model, traces[title], classes, step, title, "a.html" if title == "first" else None)
        for step in (0, 30)
        for title in traces
    ]
    path = tmp_path / "index.html"
    path.write_text(timeline_page(texts, "run"))
    shown = "return [page.now.title, page.now.step, page.stage.size[0] / page.stage.size[1]]"
    with media(driver, prefers_reduced_motion="reduce"), opened(driver, path.as_uri()):
        page_link = "return document.querySelector('#details a').textContent"
        assert driver.execute_script(shown)[:2] == ["first", 0]
        assert driver.execute_script(page_link) == "Every stage at this moment →"
        driver.find_elements("css selector", "#images button")[1].click()
        title, step, ratio = driver.execute_script(shown)
        assert (title, step) == ("second", 0)
        assert ratio == pytest.approx(100 / image.shape[1], rel=0.02)
        assert "of the first image" in driver.execute_script(page_link)
        slide(driver, "moment", 1)
        assert driver.execute_script(shown)[:2] == ["second", 30]


def test_the_losses_have_one_name_and_a_scale(driver, timeline, page):
    go(page, "losses")
    bars = "return [...document.querySelectorAll('#details .bar > span')].map((s) => s.textContent)"
    names = page.execute_script(bars)[:5]
    with media(driver, prefers_reduced_motion="reduce"), opened(driver, timeline.as_uri()):
        assert driver.execute_script(bars) == names
        labels = driver.execute_script(
            "return [...document.querySelectorAll('#details svg text')].map((x) => x.textContent)"
        )
        assert {"0", "900"} <= set(labels) and any("logarithmic" in x for x in labels)
        most = driver.execute_script(
            "return Math.max(...page.moments.flatMap((m) => Object.values(m.losses)))"
        )
        assert float(labels[2]) == pytest.approx(most, rel=0.01)
        driver.find_element("id", "beside").click()
        both = driver.execute_script(
            "return [page.before, page.stage].map((s) => s.canvas.getBoundingClientRect().width)"
        )
        assert min(both) > 200


def test_what_a_table_hides_is_said(page):
    """A table wider than its place says so; the IoU of matching fits."""
    for step in page.execute_script("return page.steps.map((s) => s.id)"):
        go(page, step)
        page.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0]))")
        for wide, said in page.execute_script(
            "return [...document.querySelectorAll('#details .scroll')].map((s) =>"
            "[s.scrollWidth > s.clientWidth + 1, s.classList.contains('hides')])"
        ):
            assert wide == said, step
            assert not (wide and step == "matching")
