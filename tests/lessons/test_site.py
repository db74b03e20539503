"""The course's site, built and clicked through in a browser from the first page to the last."""

import shutil
import subprocess
import sys

import pytest

from lessons import FOLDER, lesson_files

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
WIDTHS = {"desktop": (1280, 900), "phone": (390, 844)}
WITH_EXERCISES = [p for p in lesson_files() if (FOLDER / "exercises" / p.name).exists()]
OUT = FOLDER.parent / "build" / "site"  # kept: lessons that have not changed are not run again

MISSING_PICTURES = """() => [...document.images].filter(i => !i.complete || !i.naturalWidth)
    .map(i => i.src)"""
CUT_OFF = """() => [...document.querySelectorAll("article pre")]
    .filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.innerText.slice(0, 80))"""
OVERFLOW = "() => document.documentElement.scrollWidth - window.innerWidth"


@pytest.fixture(scope="module")
def site():
    pytest.importorskip("myst_nb")
    done = subprocess.run(
        [sys.executable, "-m", "lessons.site", str(OUT)],
        cwd=FOLDER.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return OUT


@pytest.fixture(params=WIDTHS)
def page(request, site):
    """A page in a browser window; afterwards, what the browser complained of."""
    api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    width, height = WIDTHS[request.param]
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": width, "height": height})
        complaints = []
        opened.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.on(
            "requestfailed",
            lambda request: (  # one that a click on the next page cut off is no complaint
                complaints.append(request.url) if request.failure != "net::ERR_ABORTED" else None
            ),
        )
        opened.on(
            "request",
            lambda request: (
                complaints.append(request.url) if request.url.startswith("http") else None
            ),
        )
        yield opened
        browser.close()
        assert not complaints


def test_from_the_first_page_to_the_last(page, site):
    page.goto((site / "index.html").as_uri())
    visited = []
    while True:
        page.wait_for_load_state()
        visited.append(page.url.rpartition("/")[2])
        assert page.evaluate(MISSING_PICTURES) == [], page.url
        assert page.evaluate(OVERFLOW) <= 0, page.url
        following = page.locator("a.right-next")
        if not following.count():
            break
        following.click()
    lessons = [path.with_suffix(".html").name for path in lesson_files()]
    exercises = [path.with_suffix(".html").name for path in WITH_EXERCISES]
    assert visited == ["index.html", *lessons, *exercises, "glossary.html"]


def test_lessons_have_figures_and_link_their_exercises(page, site):
    for path in WITH_EXERCISES:
        page.goto((site / f"{path.stem}.html").as_uri())
        pictures = page.locator("article img")
        assert pictures.count() >= 2
        assert all(pictures.nth(i).get_attribute("alt") for i in range(pictures.count()))
        assert page.locator("button.copybtn").count() >= 5
        assert page.locator("a.left-prev").count() == 1
        page.locator(f"article a[href='exercises/{path.stem}.html']").first.click()
        page.wait_for_load_state()
        assert "tinymaskrcnn learn" in page.locator("article").inner_text()


def test_a_figure_has_a_caption_and_opens_at_its_full_size(page, site):
    page.goto((site / "06_boxes_iou.html").as_uri())
    figure = page.locator("article .cell_output img").first
    caption = page.locator("article figcaption").first
    assert caption.is_visible() and caption.inner_text() == figure.get_attribute("alt")
    figure.click()
    large = page.locator("dialog.figure-large img")
    large.wait_for(state="visible")
    assert large.get_attribute("alt") == caption.inner_text()
    page.keyboard.press("Escape")
    large.wait_for(state="hidden")
    figure.press("Enter")
    large.wait_for(state="visible")


TRY_IT = ["02_convolution", "06_boxes_iou", "07_anchors", "10_suppression", "11_roi_align"]


@pytest.mark.parametrize("name", TRY_IT)
def test_there_is_something_to_try(page, site, name):
    page.goto((site / f"{name}.html").as_uri())
    result = page.locator("figure.try-it .result")
    before = result.inner_text()
    inside = page.locator("figure.try-it")
    if name in ("06_boxes_iou", "11_roi_align"):
        inside.locator(".movable").last.press("ArrowLeft")
    elif name == "02_convolution":
        inside.locator("select").select_option("the mean of nine")
    else:
        inside.locator("input").first.fill("8" if name == "07_anchors" else "0.8")
    assert result.inner_text() != before


def test_the_boxes_to_try_have_the_iou_of_the_lesson(page, site):
    from lessons import load

    page.goto((site / "06_boxes_iou.html").as_uri())
    box = page.locator("figure.try-it .movable").last
    for _ in range(3):
        box.press("ArrowLeft")
        box.press("Shift+ArrowUp")
    labels = page.locator("figure.try-it .movable").evaluate_all(
        "boxes => boxes.map(b => b.getAttribute('aria-label'))"
    )
    p, q = ([float(v) for v in label.partition(": ")[2].split(", ")] for label in labels)
    shown = page.locator("figure.try-it .result").inner_text()
    assert float(shown.rpartition("= ")[2]) == pytest.approx(
        load("boxes_iou").iou_one(p, q), abs=0.005
    )


def test_code_fits_on_a_desktop(page, site):
    if page.viewport_size["width"] < 1280:
        pytest.skip("on a phone code scrolls in its own frame")
    for path in lesson_files():
        page.goto((site / f"{path.stem}.html").as_uri())
        assert page.evaluate(CUT_OFF) == [], path.stem


def test_the_first_screen_has_no_imports(page, site):
    page.goto((site / "14_training.html").as_uri())
    folded = page.locator("article details.hide").first
    assert "Show the code" in folded.inner_text()
    imports = folded.locator("pre")
    assert "import numpy" in imports.text_content() and not imports.is_visible()
    folded.locator("summary").click()
    assert imports.is_visible()


def test_a_file_that_a_lesson_names_is_linked_both_ways(page, site):
    page.goto((site / "15_measuring.html").as_uri())
    page.locator("article a", has_text="tinymaskrcnn/evaluation/coco_metrics.py").first.click()
    page.wait_for_load_state()
    assert "source/tinymaskrcnn/evaluation/coco_metrics.html" in page.url
    assert "def compare(" in page.locator("article pre").inner_text()
    page.locator("article a", has_text="15 · Measuring").click()
    page.wait_for_load_state()
    assert "15_measuring.html" in page.url


def test_the_playground_is_beside_the_lessons(page, site):
    page.goto((site / "play.html").as_uri())
    assert "tinymaskrcnn" in page.title()


@pytest.mark.parametrize("name", ["shapes", "nuclei"])
def test_the_pages_of_every_stage_are_linked(page, site, name):
    page.goto((site / "index.html").as_uri())
    page.locator(f"a[href='explain_{name}.html']").click()
    page.wait_for_load_state()
    assert page.url.endswith(f"explain_{name}.html")
    assert page.evaluate(MISSING_PICTURES) == []


def test_search_finds_a_lesson(page, site):
    page.goto((site / "search.html").as_uri() + "?q=padding")
    page.wait_for_selector("#search-results li a")
    assert "02_convolution.html" in page.locator("#search-results").inner_html()
