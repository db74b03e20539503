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
