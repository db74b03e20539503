"""What a person sees: figures of every stage (figures/), the page that shows them all (report/),
detections drawn on images (draw.py), figures of a data set (dataset_figures.py), of weights
(weight_figures.py) and of a training run (curves.py), and the colours of all of them (colours.py).
"""

import importlib
from typing import Any

_MODULES = ("colours", "curves", "dataset_figures", "draw", "figures", "report", "weight_figures")

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    """Load a part when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f".{name}", __name__)
