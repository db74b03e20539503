"""Under mpiexec: a command line during whose training something happens on the last rank.

    mpiexec -n 2 python -m tests.mpi.trouble WHAT STEP ARGUMENTS...

WHAT comes before STEP: "kill" (SIGKILL), "overflow" (of an image), "raise" (an error that nobody
foresaw), "unreadable" (an image that cannot be read).
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import numpy as np

from tinymaskrcnn import cli
from tinymaskrcnn.errors import InputError
from tinymaskrcnn.training import Trainer


def trouble(what: str, batch: Any) -> None:
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "raise":
        raise RuntimeError("nobody foresaw this")
    if what == "unreadable":
        raise InputError("photo.jpg: cannot be read")
    batch.images[0][:] = np.float32(3e38)


def main(what: str, step: int, *arguments: str) -> int:
    train_on = Trainer._train_on

    def troubled(trainer: Trainer, batch: Any) -> Any:
        if trainer.step == step - 1 and trainer.group.rank == trainer.group.size - 1:
            trouble(what, batch)
        return train_on(trainer, batch)

    Trainer._train_on = troubled  # type: ignore[method-assign]
    return cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:]))
