"""How long the playground takes to look at one image, in headless Chromium on one core.

onnxruntime-web is no peer here: its files are not in Python's package index, and nothing is loaded
from elsewhere.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from .case import Bound, Mismatch, require_close
from .harness import Row

ROUNDS = 20
NAME = "play: one 128x128 image in the page"
BOUNDS: dict[str, Bound | None] = {NAME: None}
LOOK = """
const [rounds, rgba, done] = arguments;
(async () => {
  while (page.busy || page.dirty) await new Promise((then) => setTimeout(then, 20));
  const image = { width: 128, height: 128, rgba: Uint8Array.from(rgba) }, seconds = [];
  let t;
  for (let i = 0; i < rounds; i++) {
    t = await page.model.ask("see", image);
    seconds.push(t.seconds.total);
  }
  done([seconds, t["detections.boxes"]]);
})();
"""


def rows(names: list[str]) -> Iterator[Row]:
    """The row, if requested: the median of the worker's own times, in milliseconds."""
    for name in names:
        if find_spec("selenium") is None or not shutil.which("chromedriver"):
            yield {"name": name, "peer": "", "skipped": "needs the extra browser and Chromium"}
            continue
        seconds, boxes, expected = _looked()
        if len(boxes) != len(expected):
            raise Mismatch(f"{name}: {len(boxes)} objects in the page, {len(expected)} in Python")
        require_close(name, [boxes], [expected], 1e-3)
        yield {"name": name, "ours_ms": 1e3 * float(np.median(seconds))}


def _looked() -> tuple[list[float], np.ndarray, np.ndarray]:
    """Seconds of each look, and the boxes found there and by the package."""
    import tinymaskrcnn as tm
    from tests.browsers import chromium, opened
    from tinymaskrcnn.play.pages import play_page
    from tinymaskrcnn.viz.draw import as_bytes

    model = tm.load_model("shapes")
    pixels = as_bytes(tm.ToyShapes(1, size=128, seed=7, split="val")[0][0])
    rgba = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    with tempfile.TemporaryDirectory() as folder, chromium() as driver:
        path = Path(folder, "play.html")
        path.write_text(play_page(model, "shapes", "f4"), encoding="utf-8")
        with opened(driver, path.as_uri()):
            answer: Any = driver.execute_async_script(LOOK, ROUNDS, rgba.ravel().tolist())
    image = np.ascontiguousarray(pixels.transpose(2, 0, 1) / np.float32(255))
    return answer[0], np.array(answer[1], np.float32), model.detect([image])[0].boxes
