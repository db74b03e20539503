"""The playground in headless Chromium, used as people use it: mouse, touch, keys, address."""

import json
import re
import time

import numpy as np
import pytest

import tinymaskrcnn as tm
from tests.browsers import chromium, faint_texts, media, opened
from tinymaskrcnn.ops.nms.reference import batched_nms
from tinymaskrcnn.ops.paste_masks.op import paste_masks_binary
from tinymaskrcnn.play.pages import play_page

pytestmark = pytest.mark.browser
EMPTY = "#paper!0.5!-1"


@pytest.fixture(scope="module")
def driver():
    with chromium() as driver:
        yield driver


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "play.html"
    path.write_text(play_page(tm.load_model("shapes"), "shapes"), encoding="utf-8")
    return path


@pytest.fixture
def empty(driver, file):
    """The page with nothing drawn."""
    with opened(driver, file.as_uri() + EMPTY):
        settle(driver)
        yield driver


def settle(driver):
    """Wait until the page has looked at what is drawn now."""
    quiet = "return page.findings && !page.busy && !page.dirty"
    until = time.monotonic() + 120
    while not driver.execute_script(quiet):
        assert time.monotonic() < until
        time.sleep(0.02)
    time.sleep(0.05)  # answers on their way


def found(driver, score=0.5):
    """The detections that are shown: class, score, box, mask."""
    return json.loads(
        driver.execute_script(
            "return JSON.stringify(page.findings.shown(arguments[0]).map((d) =>"
            "({name: d.name, score: d.score, box: d.box, mask: [...d.mask]})))",
            score,
        )
    )


def place(driver, panel, x, y):
    """Where a point of the image is in the window."""
    driver.execute_script(
        "document.querySelector(`#${arguments[0]} .stage`).scrollIntoView({block: 'center'})",
        panel,
    )
    return driver.execute_script(
        "const s = page.panels.find((p) => p.node.id === arguments[0]).stage;"
        "const r = s.canvas.getBoundingClientRect(), [x, y] = s.place(arguments[1], arguments[2]);"
        "return [r.left + x * r.width / s.canvas.width, r.top + y * r.height / s.canvas.height]",
        *(panel, float(x), float(y)),
    )


def drag(driver, panel, start, end, steps=6):
    """With the mouse, in pixels of the image."""
    from selenium.webdriver import ActionChains

    actions = ActionChains(driver, duration=20)
    mouse = actions.w3c_actions.pointer_action
    points = np.linspace(start, end, steps + 1)
    corners = [[round(v) for v in place(driver, panel, *p)] for p in points]
    mouse.move_to_location(*corners[0])
    mouse.pointer_down()
    for corner in corners[1:]:
        mouse.move_to_location(*corner)
    mouse.pointer_up()
    actions.perform()
    settle(driver)


def text(driver, selector):
    return driver.execute_script(
        "return document.querySelector(arguments[0]).textContent", selector
    )


def slide(driver, slider, value):
    driver.execute_script(
        "const s = document.getElementById(arguments[0]); s.value = arguments[1];"
        "s.dispatchEvent(new Event('input', {bubbles: true}))",
        *(slider, str(value)),
    )
    settle(driver)


# ---- drawing


def test_a_circle_drawn_by_mouse_is_found(empty):
    drag(empty, "image", (60, 70), (80, 70))
    (circle,) = found(empty)
    assert circle["name"] == "circle" and circle["score"] >= 0.9
    y, x = np.mgrid[:128, :128] + 0.5
    drawn = np.hypot(x - 60, y - 70) <= 20
    mask = np.array(circle["mask"], np.float32).reshape(1, 28, 28)
    pasted = paste_masks_binary(mask, np.array([circle["box"]], np.float32), 128, 128)[0]
    assert (pasted & drawn).sum() / (pasted | drawn).sum() >= 0.8
    assert text(empty, "#found .right").startswith("circle→ circle")


def test_growing_a_circle_moves_the_light_up_a_level(empty):
    drag(empty, "image", (64, 64), (74, 64))
    levels = []
    for radius, more in ((10, 20), (20, 36)):
        levels.append(empty.execute_script("return page.findings.brightest"))
        corner = np.array([np.cos(np.pi / 4), -np.sin(np.pi / 4)])
        drag(empty, "image", 64 + radius * corner, 64 + more * corner)
        levels.append(empty.execute_script("return page.findings.brightest"))
    assert levels == [1, 2, 2, 2]  # P3, then P4
    assert text(empty, "#anchors .names .bar:nth-child(3)").startswith("P4 ☀")


def test_all_tools(empty):
    kinds = []
    for tool, end in (("square", 44), ("triangle", 46), ("brush", 60)):
        empty.execute_script("page.set({tool: arguments[0]})", tool)
        drag(empty, "image", (30, 30), (end, 30))
        kinds.append(empty.execute_script("return page.object.kind"))
        if tool != "brush":
            assert [d["name"] for d in found(empty)] == [tool]
        empty.find_element("id", "clear").click()
        settle(empty)
    assert kinds == ["square", "triangle", "brush"]


def test_a_drag_moves_a_shape_and_its_dot_sizes_and_turns_it(empty):
    empty.execute_script("page.set({tool: 'triangle'})")
    drag(empty, "image", (40, 50), (40, 30))
    drag(empty, "image", (40, 52), (80, 72))
    drag(empty, "image", (80, 50), (112, 70))  # its upper corner
    shape = empty.execute_script("const {x, y, r, turn} = page.object; return [x, y, r, turn]")
    np.testing.assert_allclose(shape, [80, 70, 32, 0], atol=1)


def test_nothing_drawn_nothing_found(empty):
    empty.find_element("id", "dice").click()
    settle(empty)
    assert empty.execute_script("return page.scene.objects.length") >= 2
    for ground in ("paper", "cloth", "night"):
        empty.execute_script("page.ground(arguments[0])", ground)
        empty.find_element("id", "clear").click()
        settle(empty)
        assert found(empty) == []
        assert "Nothing drawn, nothing found" in text(empty, "#found")
        assert text(empty, "#live") == "nothing found"
        assert "0" in text(empty, ".ribbon a:last-child b")


# ---- views


def test_the_nms_slider_keeps_as_many_as_numpy(empty):
    drag(empty, "image", (60, 60), (80, 60))
    t = json.loads(empty.execute_script("return JSON.stringify(page.findings.t)"))
    boxes, scores = (np.array(t[f"rpn.{n}"], np.float32) for n in ("clipped", "scores"))
    levels = np.array(t["rpn.top_k_levels"])
    fit = np.flatnonzero((boxes[:, 2:] - boxes[:, :2] >= 1e-3).all(axis=1))
    for threshold in (0.3, 0.5, 0.9, 1.0):
        slide(empty, "nms", threshold)
        kept = batched_nms(boxes[fit], scores[fit], levels[fit], threshold)
        assert text(empty, "#proposals-read").startswith(f"{min(100, len(kept))} stay")


def test_a_dropped_box_says_why(empty):
    drag(empty, "image", (60, 60), (80, 60))
    empty.execute_script("page.panels[2].choice.querySelectorAll('button')[1].click()")
    x, y = place(empty, "proposals", 60, 60)
    empty.execute_script(
        "document.elementFromPoint(...arguments).dispatchEvent(new MouseEvent('click',"
        "{bubbles: true, clientX: arguments[0], clientY: arguments[1]}))",
        *(x, y),
    )
    said = text(empty, "#proposals-read")
    assert re.search(r"Dropped: it overlaps a surer box .* by IoU 0\.[7-9]\d, above 0\.70", said)


def test_a_region_can_be_dragged_and_pulled(empty):
    drag(empty, "image", (60, 60), (80, 60))
    assert "circle" in text(empty, "#region-read")
    drag(empty, "region", (10, 100), (30, 120))
    assert "background" in text(empty, "#region-read")
    np.testing.assert_allclose(
        empty.execute_script("return page.probed"), [10, 100, 30, 120], atol=1
    )
    drag(empty, "region", (20, 110), (60, 60))
    drag(empty, "region", (50, 50), (38, 38))
    box = empty.execute_script("return page.probed")
    np.testing.assert_allclose(box, [38, 38, 70, 70], atol=1.5)
    assert "circle" in text(empty, "#region-read")
    iou = float(text(empty, '#region [data-field="iou"]').split(" → ")[0])
    assert iou == pytest.approx(
        tm.box_iou(np.float32([box]), np.float32([[40, 40, 80, 80]]))[0, 0], abs=0.02
    )


def test_one_object_is_followed_through_all_views(driver, file):
    with opened(driver, file.as_uri() + "#paper~c1_40_40_20_0~s0_90_90_24_45!0.5!1"):
        settle(driver)
        for row, name in ((0, "circle"), (1, "square")):
            driver.find_elements("css selector", "#found button")[row].click()
            settle(driver)
            assert driver.execute_script("return page.detection.name") == name
            assert f"says {name}" in text(driver, "#region-read")
            near = driver.execute_script(
                "const anchor = page.findings.fromResized(page.anchorOf(page.detection));"
                "return overlap(anchor, page.detection.box)"
            )
            assert near > 0.2


# ---- learning


def recall(driver):
    script = "return {...document.getElementById('recall').dataset}"
    return {name: int(value) for name, value in driver.execute_script(script).items()}


def press(driver, button):
    driver.execute_script("document.getElementById(arguments[0]).click()", button)
    time.sleep(0.05)
    settle(driver)


@pytest.mark.parametrize(("head", "lost"), [("rpn", "proposed"), ("box", "found")])
def test_a_head_forgets_and_sixty_steps_bring_recall_back(driver, file, head, lost):
    with opened(driver, file.as_uri()):
        settle(driver)
        before = recall(driver)
        assert before == {"drawn": 3, "proposed": 3, "found": 3, "steps": 0}
        press(driver, f"forget-{head}")
        assert recall(driver)[lost] == 0 and found(driver) == []
        driver.find_element("id", "play").click()
        until = time.monotonic() + 280
        while recall(driver)["steps"] < 60 and time.monotonic() < until:
            time.sleep(0.1)
        driver.find_element("id", "play").click()  # pause
        settle(driver)
        after = recall(driver)
        assert after.pop("steps") >= 60 and after == {"drawn": 3, "proposed": 3, "found": 3}
        assert {d["name"] for d in found(driver)} == {"circle", "square", "triangle"}
        press(driver, "restore")
        assert recall(driver) == before


def test_it_learns_a_circle_that_it_misses(empty):
    """Nothing is forgotten: both heads learn what they got wrong."""
    drag(empty, "image", (64, 64), (120, 64))
    settle(empty)
    assert recall(empty)["found"] == 0
    for _ in range(40):
        press(empty, "step")
        if recall(empty)["found"]:
            break
    assert recall(empty)["found"] == 1
    assert text(empty, ".phases li").startswith("sample 128 anchors")


def test_the_reader_goes_back_and_forth_through_what_was_learned(driver, file):
    from selenium.webdriver.common.keys import Keys

    with opened(driver, file.as_uri()):
        settle(driver)
        scrub = driver.find_element("id", "moment")
        assert not scrub.is_displayed()
        press(driver, "forget-rpn")
        for _ in range(10):
            press(driver, "step")
        steps = driver.execute_script("return page.panels[4].moments.steps")
        assert steps == [0, 2, 4, 6, 8, 10]
        assert text(driver, 'output[for="moment"]') == "10 of 10"
        now = driver.execute_script("return [...page.findings.t['rpn.objectness'][1]]")
        scrub.send_keys(Keys.HOME)
        settle(driver)
        assert text(driver, "#recall b") == "step 0" and recall(driver)["proposed"] == 0
        assert scrub.get_attribute("aria-valuetext") == "step 0 of 10"
        drag(driver, "image", (40, 42), (50, 60))  # the drawing changes, the moment stays
        assert recall(driver)["proposed"] == 0 and recall(driver)["steps"] == 10
        drag(driver, "image", (50, 60), (40, 42))
        scrub.send_keys(Keys.END)
        settle(driver)
        again = driver.execute_script("return [...page.findings.t['rpn.objectness'][1]]")
        np.testing.assert_array_equal(again, now)
        slide(driver, "moment", 2)
        assert text(driver, "#recall b") == "step 4"
        press(driver, "step")  # learning goes on from the newest
        assert text(driver, 'output[for="moment"]') == "11 of 11"
        press(driver, "restore")
        assert not scrub.is_displayed()


def test_the_reader_goes_through_the_whole_training(driver, tmp_path):
    """At each moment the page sees the drawing as the model did at that step."""
    model = tm.load_model("shapes")
    fresh = tm.maskrcnn_tiny(**{k: v for k, v in model.config.items() if k != "builder"}, seed=3)
    fresh.classes = model.classes
    page = play_page(model, "run", history={0: fresh.eval(), 500: model})
    (tmp_path / "play.html").write_text(page, encoding="utf-8")
    with opened(driver, (tmp_path / "play.html").as_uri()):
        settle(driver)
        objectness = "return [...page.findings.t['rpn.objectness'][2]]"
        pixels = "return [...page.scene.pixels().rgba]"
        now, before = driver.execute_script(objectness), found(driver)
        assert text(driver, 'output[for="history"]') == "500" and len(before) == 3
        slide(driver, "history", 0)
        rgba = np.array(driver.execute_script(pixels), np.float32).reshape(128, 128, 4)
        with tm.trace() as t:
            fresh.detect([np.ascontiguousarray(rgba[..., :3].transpose(2, 0, 1) / 255)])
        ends = np.cumsum(t["rpn.level_sizes"])
        expected = t["rpn.objectness"][0, ends[1] : ends[2]]
        shown = np.array(driver.execute_script(objectness))
        assert np.abs(shown - expected).max() < 0.05 * np.ptp(expected)  # weights of 8 bits
        assert found(driver) == [] and recall(driver)["found"] == 0
        press(driver, "step")  # it learns from that moment on
        assert recall(driver)["steps"] == 1
        press(driver, "restore")
        assert text(driver, 'output[for="history"]') == "500"
        assert driver.execute_script(objectness) == now and found(driver) == before


def test_slow_motion_shows_each_part_of_a_step(driver, file):
    with opened(driver, file.as_uri()):
        settle(driver)
        driver.execute_script("page.panels[4].paces.querySelectorAll('button')[1].click()")
        driver.execute_script("document.getElementById('step').click()")
        seen, until = [], time.monotonic() + 100
        while "step" not in seen and time.monotonic() < until:
            now = driver.execute_script("return page.panels[4].phase")
            if now and now not in seen:
                seen.append(now)
        assert seen == ["sample", "loss", "gradient", "step"]


def test_without_a_drawing_there_is_nothing_to_learn_from(empty):
    for button in ("step", "play"):
        press(empty, button)
        assert "Draw a shape first" in text(empty, "#learn .phases")
    assert "losses compare with what is drawn" in text(empty, "#losses")
    assert recall(empty)["steps"] == 0


def test_the_losses_are_small_where_it_is_right(driver, file):
    with opened(driver, file.as_uri()):
        settle(driver)
        time.sleep(0.3)
        rows = driver.execute_script(
            "return [...document.querySelectorAll('#losses .bar')].map((b) => b.innerText)"
        )
        assert len(rows) == 5 and all(0 <= float(row.split()[-1]) < 1 for row in rows)


def test_every_view_shows_its_code(driver, file):
    with opened(driver, file.as_uri()):
        settle(driver)
        for view in ("image", "anchors", "proposals", "region", "learn"):
            code = text(driver, f"#{view} .code")
            assert "tinymaskrcnn/" in code and "def " in code and '"""' in code


# ---- the address


def test_the_address_brings_the_drawing_back(driver, file):
    with opened(driver, file.as_uri() + EMPTY):
        settle(driver)
        drag(driver, "image", (50, 50), (66, 50))
        driver.execute_script("page.set({tool: 'brush', score: 0.7})")
        drag(driver, "image", (20, 100), (60, 110))
        time.sleep(0.5)
        address, before = driver.current_url, driver.execute_script("return page.address")
        shown = found(driver, 0.7)
    with opened(driver, address):
        settle(driver)
        assert driver.execute_script("return page.address") == before
        assert [d["name"] for d in found(driver, 0.7)] == [d["name"] for d in shown]


@pytest.mark.parametrize(
    "address",
    ["#%7E!!", "#x~q1_2~c_a_b~c0_1_1_0_0~c0_9e9_1_1e9_0!7!x", "#paper~b1_5_5_4_0!0.5!9", "#%"],
)
def test_a_damaged_address_is_no_trouble(driver, file, address):
    with opened(driver, file.as_uri() + address):
        settle(driver)
        assert driver.execute_script("return page.scene.objects.length") == 0


# ---- people


def test_by_keyboard_alone(empty):
    from selenium.webdriver.common.keys import Keys

    for _ in range(30):
        empty.switch_to.active_element.send_keys(Keys.TAB)
        if empty.execute_script("return document.activeElement === page.panels[0].stage.canvas"):
            break
    canvas = empty.switch_to.active_element
    canvas.send_keys("c")
    settle(empty)
    assert [d["name"] for d in found(empty)] == ["circle"]
    canvas.send_keys(Keys.ARROW_LEFT, Keys.ARROW_UP, "+", "+", "[")
    assert empty.execute_script("const {x, y, r} = page.object; return [x, y, r]") == [63, 63, 22]
    canvas.send_keys(Keys.SHIFT, Keys.ARROW_RIGHT, Keys.NULL)
    canvas.send_keys("s")
    for _ in range(40):
        canvas.send_keys(Keys.ARROW_DOWN)
    settle(empty)
    canvas.send_keys("n", Keys.DELETE)
    settle(empty)
    assert [d["name"] for d in found(empty)] == ["square"]
    reached = set()
    for _ in range(45):
        empty.switch_to.active_element.send_keys(Keys.TAB)
        reached.add(empty.switch_to.active_element.get_attribute("id"))
    assert {"dice", "photo", "clear", "score", "nms", "best"} <= reached


def test_touch_on_a_phone(driver, file):
    with opened(driver, file.as_uri() + EMPTY, width=390, height=844):
        driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
        try:
            settle(driver)
            start, end = (place(driver, "image", *p) for p in ((60, 60), (82, 60)))
            top = driver.execute_script("return scrollY")
            touch(driver, "touchStart", *start)
            for part in (0.3, 0.6, 1):
                touch(driver, "touchMove", *(np.array(start) + part * (np.array(end) - start)))
            touch(driver, "touchEnd")
            settle(driver)
        finally:
            driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
        assert [d["name"] for d in found(driver)] == ["circle"]
        assert driver.execute_script("return scrollY") == top  # it drew, and did not scroll
        assert driver.execute_script("return document.documentElement.scrollWidth") <= 390


def touch(driver, kind, x=None, y=None):
    points = [] if x is None else [{"x": float(x), "y": float(y)}]
    driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


@pytest.mark.parametrize("width", [390, 820, 1280])
def test_no_wider_than_the_window(driver, file, width):
    with opened(driver, file.as_uri(), width=width):
        settle(driver)
        assert driver.execute_script("return document.documentElement.scrollWidth") <= width


def test_everything_has_a_name(driver, file):
    with opened(driver, file.as_uri()):
        settle(driver)
        nodes = driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    wanted = {"button", "slider", "link", "image", "img", "application", "navigation", "group"}
    seen = [n for n in nodes if not n.get("ignored") and n["role"]["value"] in wanted]
    assert len(seen) > 30
    assert [n["role"]["value"] for n in seen if not n.get("name", {}).get("value")] == []


def test_reduced_motion(driver, file):
    with media(driver, prefers_reduced_motion="reduce"), opened(driver, file.as_uri()):
        settle(driver)
        moving = driver.execute_script(
            "return [...document.querySelectorAll('*')].filter((e) => {"
            "const s = getComputedStyle(e); return parseFloat(s.transitionDuration) > 0"
            "|| s.animationName !== 'none' || s.scrollBehavior === 'smooth'}).length"
        )
        assert moving == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out(driver, file, scheme):
    with media(driver, prefers_color_scheme=scheme), opened(driver, file.as_uri()):
        settle(driver)
        press(driver, "step")
        driver.execute_script("for (const d of document.querySelectorAll('details')) d.open = true")
        assert faint_texts(driver) == []


def test_one_small_file_that_loads_nothing(driver, file):
    assert file.stat().st_size <= 2.5e6
    page = file.read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=[\"']?(https?:)?//|@import|url\(", page)
    with opened(driver, file.as_uri()):
        settle(driver)
        entries = driver.execute_script(
            "return performance.getEntriesByType('resource').map((e) => e.name)"
        )
        assert [name for name in entries if not name.startswith(("blob:", "data:"))] == []


def test_a_photo_takes_the_place_of_the_ground(driver, file, pytestconfig):
    photo = pytestconfig.rootpath / "data/shapes/shapes_011.png"
    model = tm.load_model("shapes")
    with opened(driver, file.as_uri()):
        settle(driver)
        driver.find_element("css selector", "input[type=file]").send_keys(str(photo))
        while driver.execute_script("return !page.scene.photo"):
            time.sleep(0.05)
        settle(driver)
        shown = found(driver, 0.5)
        expected = model.detect([tm.read_image(photo)])[0].above(0.5)
        assert [d["name"] for d in shown] == [model.classes[k - 1] for k in expected.labels]
        np.testing.assert_allclose([d["box"] for d in shown], expected.boxes, atol=0.1)
        middle = (expected.boxes[0, :2] + expected.boxes[0, 2:]).tolist()
        drag(driver, "image", [v / 2 for v in middle], [v / 2 for v in middle], steps=1)
        assert driver.execute_script("return !!page.detection")
        driver.execute_script("page.photo(new File(['no image'], 'notes.txt'))")
        while "not an image" not in text(driver, "#live"):
            time.sleep(0.05)


def test_nuclei_have_a_page_too(driver, tmp_path):
    path = tmp_path / "nuclei.html"
    path.write_text(play_page(tm.load_model("nuclei"), "nuclei"), encoding="utf-8")
    with opened(driver, path.as_uri()):
        settle(driver)
        assert driver.execute_script("return page.scene.objects.length") == 3
        assert [d["name"] for d in found(driver)] == ["nucleus"] * 3
        assert text(driver, "#found .right").startswith("circle")
