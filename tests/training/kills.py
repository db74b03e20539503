"""Runs of the stub model that are really killed: `python -m tests.training.kills OUT KILLS STEPS`.

One process loads everything and forks a child for each sitting of the run, so that a kill costs
milliseconds. The moments are of three kinds in turn: one is a random time; the other two are random
file operations, counted from the child's start. The child sends itself SIGKILL before the
operation, or, if the operation writes a file, after a part of its bytes.

Prints {"kills": ..., "while_writing": ...} as JSON.
"""

import builtins
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
import traceback
from dataclasses import replace
from pathlib import Path

from tinymaskrcnn import files
from tinymaskrcnn.bars import tqdm
from tinymaskrcnn.training import Trainer

from .stub import RECIPE, StubModel, stub_images

# tqdm's own lock is shared by forked processes: one that is killed while it draws would keep it
tqdm.set_lock(threading.RLock())
SAVE_EVERY_STEP = replace(RECIPE, checkpoint_every=1)


class Death:
    """Kills its own process at the file operation with this number, from 0."""

    def __init__(self, at, share):
        self.left, self.share = at, share

    def watch(self):
        """Watch everything by which a run changes files."""
        for name in ("fsync", "replace", "unlink", "rename", "truncate", "mkdir"):
            setattr(os, name, self.before(getattr(os, name)))
        files.open = self.open

    def before(self, operation):
        def watched(*arguments, **settings):
            if self.due():
                self.die()
            return operation(*arguments, **settings)

        return watched

    def open(self, path, mode):
        """Open a file whose first write can be the moment: it then holds some of its bytes."""
        file = builtins.open(path, mode)  # noqa: SIM115

        def write(content):
            if self.due():
                file.write(content[: int(self.share * len(content))])
                file.flush()
                self.die()
            return file.write(content)

        return _Watched(file, write)

    def due(self):
        self.left -= 1
        return self.left == -1

    def die(self):
        os.kill(os.getpid(), signal.SIGKILL)


class _Watched:
    """A file with another `write`."""

    def __init__(self, file, write):
        self.file, self.write = file, write

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()


def train(out, steps):
    recipe = replace(SAVE_EVERY_STEP, steps=steps)
    Trainer(StubModel(), stub_images(), None, recipe, out, True, False).run()


def sitting(out, steps, death=None):
    """Fork a child that continues the run until it is finished or dead; its process id."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        if death:
            death.watch()
        train(out, steps)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)
    return 0


def outcome(pid):
    """How the child ended: 0 finished, -9 killed."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kill_often(out, kills, steps, rng):
    """Kill a run this often, then let it finish."""
    done = {"kills": 0, "while_writing": 0}
    while done["kills"] < kills:
        by_time = done["kills"] % 3 == 0
        death = None if by_time else Death(rng.randrange(40), rng.random())
        pid = sitting(out, steps, death)
        if by_time:
            time.sleep(rng.uniform(0, 0.05))
            os.kill(pid, signal.SIGKILL)
        status = outcome(pid)
        if status != -signal.SIGKILL:
            raise SystemExit(f"ended with {status} after {done}: too few steps for so many kills")
        done["kills"] += 1
        done["while_writing"] += not by_time
    if status := outcome(sitting(out, steps)):
        raise SystemExit(f"the last sitting ended with {status}")
    return done


def kill_everywhere(folder, steps, share):
    """Kill a run at every file operation in turn, then resume it; returns their number."""
    for at in range(10**6):
        out = folder / f"{at:04d}"
        status = outcome(sitting(out, steps, Death(at, share)))
        if status == 0:
            return at
        if status != -signal.SIGKILL or outcome(sitting(out, steps)):
            raise SystemExit(f"operation {at}: ended with {status}")
    raise AssertionError


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:  # loads here what each child would load again
        train(Path(folder) / "run", 1)
    target, count, step_count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    if count:
        print(json.dumps(kill_often(target, count, step_count, random.Random(0))))
    else:
        print(json.dumps({"kills": kill_everywhere(target, step_count, 0.5)}))
