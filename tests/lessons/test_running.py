"""The site's pages run cells and check exercises in the browser, offline, with a copy of Pyodide.

The copy's folder, with pyodide.mjs in it, is in TINYMASKRCNN_PYODIDE.
"""

import http.server
import os
import threading
from pathlib import Path

import pytest

from lessons import FOLDER

from .test_site import CHROMIUM, OVERFLOW, site  # noqa: F401 a fixture

pytestmark = pytest.mark.browser

COPY = Path(os.environ.get("TINYMASKRCNN_PYODIDE", ""))
MINUTES = 6 * 60_000  # Pyodide starts in ten seconds on a free machine
SOLUTION = (FOLDER / "solutions" / "06_boxes_iou.py").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def address(site):  # noqa: F811
    """The site, served with Pyodide beside it; and what was asked of it."""
    if not (COPY / "pyodide.mjs").is_file() or not os.environ.get("TINYMASKRCNN_PYODIDE"):
        pytest.skip("needs a copy of Pyodide: its folder in TINYMASKRCNN_PYODIDE")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def guess_type(self, path):
            types = {".mjs": "text/javascript", ".wasm": "application/wasm"}
            return types.get(Path(path).suffix) or super().guess_type(path)

        def translate_path(self, path):
            path = path.partition("?")[0].lstrip("/")
            inside = path.removeprefix("pyodide/")
            return str((site if inside == path else COPY) / inside)

        def log_message(self, *words):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with api.sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


@pytest.fixture
def opened(browser, address):
    """Opens a page as wide as a phone; afterwards, all that it asked for must be from here."""
    made, asked, problems = [], [], []

    def open_(path):
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.set_default_timeout(MINUTES)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"{address}/{path}")
        made.append(page)
        return page

    open_.asked = asked
    yield open_
    for page in made:
        page.close()
    assert problems == []
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []


def press(page, part, name):
    part.get_by_role("button", name=name, exact=True).click()


def settled(page):
    """Wait until nothing runs."""
    page.wait_for_selector("body:not(.running)")


def cell(page, text):
    return page.locator("article div.cell", has_text=text).first


def test_a_lesson(opened):
    page = opened("06_boxes_iou.html")
    assert page.locator(".run-tools").count() > 5
    assert not [url for url in opened.asked if "/pyodide/" in url or "/run/" in url]  # not yet
    by_hand = cell(page, "the trap: minus times minus")
    press(page, by_hand, "Run")  # and the first three, with figures
    settled(page)
    assert "ran in" in by_hand.locator(".run-state").inner_text(), by_hand.inner_text()
    first = page.locator("article div.cell").first
    assert first.locator(".run-output").count() == 1
    figures = page.locator("article .run-output figure img")
    assert figures.count() >= 2 and figures.first.get_attribute("alt") == "In Mask R-CNN: IoU"

    press(page, by_hand, "Edit")
    editor = by_hand.locator("textarea")
    editor.fill("print(shared_width * 21)\nassert shared_width == 3")
    editor.press("Shift+Enter")
    settled(page)
    output = by_hand.locator(".run-output")
    assert output.locator("pre").first.inner_text().strip() == "42"
    assert output.locator("strong").inner_text() == "AssertionError"
    assert "line 2: assert shared_width == 3" in output.inner_text()

    editor.fill("shown = True\nwhile True:\n    pass")
    editor.press("Shift+Enter")
    page.get_by_role("button", name="Stop").click()
    settled(page)
    assert by_hand.locator(".run-state").inner_text() == "stopped"
    assert page.evaluate(OVERFLOW) <= 0


def solution_of(name):
    start = SOLUTION.index(f"def {name}(")
    return SOLUTION[start:].partition("\n\n\n")[0]


def test_exercises(opened):
    page = opened("exercises/06_boxes_iou.html")
    task = page.locator("section", has=page.locator("h2", has_text="covered_by")).last
    state, editor = task.locator(".run-state"), task.locator("textarea")
    editor.fill(solution_of("covered_by"))
    press(page, task, "Check")
    settled(page)
    assert state.inner_text() == "done", task.inner_text()
    assert "covered_by: right." in task.locator(".run-output").inner_text()

    other = page.locator("section", has=page.locator("h2", has_text="iou_table")).last
    wrong = solution_of("iou_table").replace(" - shared", "", 1)
    assert wrong != solution_of("iou_table")
    other.locator("textarea").fill(wrong)
    press(page, other, "Check")
    settled(page)
    assert other.locator(".run-state").inner_text() == "not right yet"
    told = " ".join(other.locator(".run-output").inner_text().split())
    assert "The sum of both areas counts the shared part twice: subtract it once." in told

    page.reload()  # answers are kept in the browser
    assert editor.input_value() == solution_of("covered_by")
    editor.fill("def covered_by(a, b):\n    while True:\n        pass")
    press(page, task, "Check")
    page.get_by_role("status").filter(has_text="Checking").wait_for()
    page.get_by_role("button", name="Stop").click()
    settled(page)
    assert "stopped" in state.inner_text()
    press(page, task, "Reset")
    assert "raise NotImplementedError" in editor.input_value()
    assert page.evaluate(OVERFLOW) <= 0


def test_another_address(opened):
    page = opened("06_boxes_iou.html?pyodide=./elsewhere/")
    first = cell(page, "the trap: minus times minus")
    press(page, first, "Run")
    settled(page)
    assert "there is no Pyodide at" in first.locator(".run-output").inner_text()
    assert any("/elsewhere/pyodide.mjs" in url for url in opened.asked)


@pytest.mark.parametrize("name", ["16b_two_systems", "17_fast_cpu", "18_gpu_kernels"])
def test_a_lesson_that_cannot_run_here_says_so(opened, name):
    page = opened(f"{name}.html")
    assert "does not run in a browser" in page.locator("p.run-note").inner_text()
    assert page.locator(".run-tools").count() == 0
