"""A table of what every kernel needs on every architecture; status 1 if one is over its budget.

python -m tests.cuda
"""

import sys

from .compiling import CAPABILITIES, measure, problems
from .registry import all_kernels

COLUMNS = ("registers", "shared bytes", "spilled bytes", "float64", "64-bit divisions")


def main():
    over = 0
    print(f"{'kernel':<32}{'threads':>8}{'budget':>8}", end="")
    print("".join(f"{name:>22}" for name in COLUMNS))
    print(" " * 48 + "".join(f"{'sm_75 / 80 / 90':>22}" for _ in COLUMNS))
    for name, kernel in sorted(all_kernels().items()):
        figures = [measure(kernel, capability) for capability in CAPABILITIES]
        threads = "x".join(map(str, kernel.threads))
        print(f"{name:<32}{threads:>8}{kernel.registers:>8}", end="")
        print("".join(f"{_row(figures, column):>22}" for column in COLUMNS), end="")
        wrong = sorted({text for f in figures for text in problems(kernel, f)})
        over += bool(wrong)
        print("  " + "; ".join(wrong) if wrong else "", flush=True)
    return 1 if over else 0


def _row(figures, column):
    return " / ".join(str(f[column]) for f in figures)


if __name__ == "__main__":
    sys.exit(main())
