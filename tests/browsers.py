"""Headless Chromium for tests of pages: the marker `browser`.

Needs `selenium`, and Chromium with its driver (Debian: chromium, chromium-driver).
"""

import shutil
import time
from contextlib import contextmanager

import pytest


@contextmanager
def chromium():
    """A driver; skips where there is nothing to drive."""
    webdriver = pytest.importorskip("selenium.webdriver")
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if not all(programs):
        pytest.skip("no chromium with its chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=programs[1])
    driver = webdriver.Chrome(options=options, service=service)
    driver.set_script_timeout(300)
    try:
        yield driver
    finally:
        driver.quit()


@contextmanager
def media(driver, **features):
    """A browser that says so of its pointer or of its reader's wishes."""
    wanted = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": wanted})
    try:
        yield
    finally:
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


FAINT = """
const rgba = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
const light = ([r, g, b]) => [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92
  : ((v + 0.055) / 1.055) ** 2.4).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const over = ([r, g, b, a = 1], below) => [r, g, b].map((v, i) => v * a + below[i] * (1 - a));
const ground = (node) => {
  if (!node) return [255, 255, 255];
  const own = rgba(getComputedStyle(node).backgroundColor), alpha = own[3] ?? 1;
  return alpha === 1 ? own : over(own, ground(node.parentElement));
};
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), faint = [];
while (walk.nextNode()) {
  const node = walk.currentNode.parentElement, style = getComputedStyle(node);
  if (!walk.currentNode.data.trim() || !node.checkVisibility({visibilityProperty: true})) continue;
  if (/^(SCRIPT|STYLE|NOSCRIPT)$/.test(node.tagName) || node.closest(":disabled")) continue;
  const colour = rgba(node instanceof SVGElement ? style.fill : style.color), below = ground(node);
  const [a, b] = [light(over(colour, below)), light(below)].sort((x, y) => y - x);
  if ((a + 0.05) / (b + 0.05) < 4.5) faint.push(walk.currentNode.data.trim());
}
return faint;
"""


def faint_texts(driver):
    """The texts whose contrast with what lies below them is under 4.5 (WCAG 2.2, 1.4.3)."""
    return driver.execute_script(FAINT)


@contextmanager
def opened(driver, address, width=1280, height=900):
    """A page, unpacked: `window.page` is there. Its console must be empty at the end."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.get("about:blank")
    driver.get(address)
    while not driver.execute_script(
        "return !!window.page || document.body.innerText.includes('cannot unpack')"
    ):
        time.sleep(0.05)
    yield
    assert driver.get_log("browser") == []
