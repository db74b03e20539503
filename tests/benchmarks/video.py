"""Where the time of `predict clip.mp4` goes, per frame of moving shapes, with the shipped model."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter

import numpy as np
from PIL import Image

from .case import Bound, Mismatch
from .harness import Row

FRAMES, SIZE = 60, 480
PARTS = ("decode", "predict", "track", "draw", "encode")
WHOLE = f"video {SIZE}x{SIZE}: frames per second"
BOUNDS: dict[str, Bound | None] = {
    **{f"video {SIZE}x{SIZE}: {part}": None for part in PARTS},
    WHOLE: None,
}


def rows(names: list[str]) -> Iterator[Row]:
    """The requested rows among BOUNDS: milliseconds per frame."""
    if names and find_spec("av") is None:
        yield {"name": names[0], "peer": "", "skipped": "needs the extra video"}
        return
    seconds = _measured() if names else {}
    for name in names:
        if name == WHOLE:
            yield {"name": name, "figure": 1 / sum(seconds.values())}
        else:
            yield {"name": name, "ours_ms": 1e3 * seconds[name.split(": ")[1]]}


def _measured() -> dict[str, float]:
    """Seconds per frame of each part, once everything is warm. Raises Mismatch if the written clip
    has not the frames and times of the one that was read.
    """
    import tinymaskrcnn as tm
    from tinymaskrcnn.datasets.images import to_array
    from tinymaskrcnn.datasets.moving_shapes import MovingShapes
    from tinymaskrcnn.video.clips import Clip, writing
    from tinymaskrcnn.video.tracking import Tracker
    from tinymaskrcnn.viz.draw import as_bytes, draw_tracks

    model = tm.load_model("shapes", box_score_thresh=0.5)
    spent: dict[str, float] = defaultdict(float)

    @contextmanager
    def timed(part: str) -> Iterator[None]:
        start = perf_counter()
        yield
        spent[part] += perf_counter() - start

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "clip.mp4"), Path(folder, "out.mp4")
        _write([as_bytes(image) for image, _ in MovingShapes(FRAMES, SIZE)], source)
        for _ in range(2):  # the first time compiles
            spent.clear()
            tracker = Tracker()
            with Clip(source, 10**7) as clip, writing(target, clip, "") as add:
                frames = clip.read()
                for _ in range(FRAMES):
                    with timed("decode"):
                        frame = next(frames)
                        image = to_array(Image.fromarray(frame.pixels), 3)
                    with timed("predict"):
                        (found,) = model.detect([image])
                    with timed("track"):
                        size = found.image_size
                        numbers = tracker.update(found.boxes, found.labels, frame.time, size)
                    with timed("draw"):
                        picture = draw_tracks(frame.pixels, found, numbers, model.classes)
                    with timed("encode"):
                        add(frame, np.asarray(picture))
        with Clip(source, 10**7) as clip, Clip(target, 10**7) as written:
            pairs = [[round(f.time, 6) for f in one.read()] for one in (clip, written)]
        if pairs[0] != pairs[1] or len(pairs[0]) != FRAMES:
            raise Mismatch("video: the written frames' times differ from those that were read")
    return {part: value / FRAMES for part, value in spent.items()}


def _write(pictures: list[np.ndarray], path: Path) -> None:
    import av

    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.height, stream.width = pictures[0].shape[:2]
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture)
            frame.pts = i
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
