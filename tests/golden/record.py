"""Records every golden file anew.

Needs torch and torchvision; from the project's root:

    python -m tests.golden.record
"""

import runpy

RECORDERS = ("dense_ops", "roi_ops", "detection", "stages", "model")


def main() -> None:
    for name in RECORDERS:
        runpy.run_module(f"tests.golden.record_{name}", run_name="__main__")
    runpy.run_module("tests.weights.record", run_name="__main__")


if __name__ == "__main__":
    main()
