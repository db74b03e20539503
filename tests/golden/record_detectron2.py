"""Records detectron2.npz: the names and shapes of detectron2's R-50-FPN, and what it finds in one
image.

Needs detectron2 (built from source; this was recorded with 0.6 at 02b5c4e); from the project's
root:

    python -m tests.golden.record_detectron2
"""

import json
from pathlib import Path

import numpy as np

from ..parity import detectron2_peer as peer
from .seeded import DETECTRON2, DETECTRON2_PICTURE, seeded_picture


def main() -> None:
    model, resize = peer.build(**DETECTRON2)
    image = seeded_picture(*DETECTRON2_PICTURE)
    busy = peer.busy(model, image, resize)
    found = peer.predict(model, image, resize)
    found["masks"] = np.packbits(found["masks"])
    found["probabilities"] = found["probabilities"].astype(np.float16)
    np.savez_compressed(
        Path(__file__).parent / "detectron2.npz",
        shapes=np.array(json.dumps(peer.shapes_of(model))),
        **{f"busy/{name}": np.asarray(value) for name, value in busy._asdict().items()},
        **{f"found/{name}": value for name, value in found.items()},
    )


if __name__ == "__main__":
    main()
