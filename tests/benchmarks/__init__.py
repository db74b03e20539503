"""Benchmarks: `python -m tests.benchmarks --help`.

case.py says what a benchmark is; harness.py and worker.py measure it. The cases are in models.py,
layers.py, operators.py and scaling.py, start-up is in startup.py, a busy machine in busy.py.
"""

from . import layers, models, operators, scaling
from .case import Case

SECTIONS: dict[str, dict[str, Case]] = {
    "models": models.CASES,
    "layers": layers.CASES,
    "operators": operators.CASES,
    "scaling": scaling.CASES,
}
CASES: dict[str, Case] = {name: case for cases in SECTIONS.values() for name, case in cases.items()}
