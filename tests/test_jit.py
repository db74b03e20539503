"""Several Python threads and processes: each answer is the one that a thread alone gets."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import tinymaskrcnn as tm
from tinymaskrcnn import parallel
from tinymaskrcnn.autograd import is_grad_enabled
from tinymaskrcnn.ops import nms
from tinymaskrcnn.ops.conv2d.winograd import set_winograd, winograd, winograd_size

BOX = np.array([[0, 0, 2, 2]], np.float32)


def backend_in_use():
    """The forced one, seen by what it refuses."""
    return nms.kernels(BOX).__name__.rpartition(".")[2]


STATES = {
    "no_grad": (tm.no_grad, is_grad_enabled),
    "use": (lambda: tm.use("reference"), backend_in_use),
    "winograd": (lambda: winograd(2), winograd_size),
    "trace": (tm.trace, lambda: tm.tracing.recording()),
    "shared_by": (lambda: parallel.shared_by(parallel.Group()), parallel.group),
}


@pytest.mark.parametrize(("enter", "state"), STATES.values(), ids=STATES.keys())
def test_a_context_of_one_thread_is_none_of_another(enter, state):
    """Two threads that enter and leave in turns, as two predictions may."""
    outside = state()
    seen = {}

    def other():
        with enter():
            seen["inside"] = state()
            entered.set()
            left.wait(60)
            seen["after the first left"] = state()

    entered, left = threading.Event(), threading.Event()
    thread = threading.Thread(target=other)
    with enter():
        thread.start()
        assert entered.wait(60)
    assert state() == outside
    left.set()
    thread.join()
    assert state() == outside
    assert seen["inside"] != outside
    assert seen["after the first left"] == seen["inside"]


def test_set_winograd_is_for_every_thread():
    sizes = []
    before = winograd_size()
    try:
        set_winograd(2)
        thread = threading.Thread(target=lambda: sizes.append(winograd_size()))
        thread.start()
        thread.join()
    finally:
        set_winograd(before)
    assert sizes == [2]


def python(script, **environment):
    """(exit status, standard output, standard error) of a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr


IN_THREADS = """
import hashlib, sys, threading
import numba, numpy as np
import tinymaskrcnn as tm

sys.setswitchinterval(1e-5)
rng = np.random.default_rng(0)
images = [rng.random((3, 64, 64 + 16 * i), np.float32) for i in range(3)]
target = {"boxes": np.array([[8, 8, 40, 40]], np.float32), "labels": np.array([1]),
          "masks": np.zeros((1, 64, 64), np.uint8)}
target["masks"][0, 8:40, 8:40] = 1

def build():
    return tm.maskrcnn_tiny(min_size=64, max_size=64, box_score_thresh=0.0, norm="batch")

def detect(model, image):
    with tm.no_grad():
        found = model.detect([image])[0]
    return b"".join(np.ascontiguousarray(a).tobytes() for a in (found.boxes, found.scores))

def train():
    model = build().train()
    optimizer = tm.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for step in range(2):
        optimizer.zero_grad()
        losses = model(images[:1], [target], rng=np.random.default_rng(step))
        sum(losses.values()).backward()
        optimizer.step()
    return b"".join(parameter.data.tobytes() for parameter in model.parameters())

shared = build().eval()
alone = [detect(shared, image) for image in images], train()
wrong = []

def predict():
    for _ in range(2):
        wrong.extend("predict" for i, bits in zip(images, alone[0]) if detect(shared, i) != bits)

def learn():
    if train() != alone[1]:
        wrong.append("train")

threads = [threading.Thread(target=work) for work in (predict, learn, predict, learn)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(numba.threading_layer(), wrong, hashlib.sha256(b"".join(alone[0]) + alone[1]).hexdigest())
"""


@pytest.fixture(scope="module")
def bits():
    return {}


@pytest.mark.parametrize("layer", ["omp", "workqueue", "tbb"])
def test_threads_give_the_bits_of_one_under_every_threading_layer(layer, bits):
    status, out, err = python(IN_THREADS, NUMBA_THREADING_LAYER=layer, NUMBA_NUM_THREADS="2")
    if "No threading layer could be loaded" in err:
        pytest.skip(f"no {layer} here")
    assert (status, err) == (0, "")
    used, wrong, digest = out.split()
    assert (used, wrong) == (layer, "[]")
    assert bits.setdefault("digest", digest) == digest


FORK = """
import multiprocessing, sys
import numpy as np
import tinymaskrcnn as tm

boxes = np.tile(np.array([[0, 0, 2, 2]], np.float32), (256, 1))  # enough for all threads

def work(_):
    return float(tm.box_iou(boxes, boxes).mean())

if "used" in sys.argv:
    work(0)
with multiprocessing.get_context("fork").Pool(2) as pool:
    try:
        print(pool.map_async(work, range(4)).get(300))
    except tm.InputError as problem:
        print("refused:", problem)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("layer", ["omp", "workqueue", "tbb"])
@pytest.mark.parametrize("used", [False, True])
def test_a_forked_worker_works_or_says_why_not(layer, used):
    script = FORK.replace('"used" in sys.argv', str(used))
    status, out, err = python(script, NUMBA_THREADING_LAYER=layer, NUMBA_NUM_THREADS="2")
    if "No threading layer could be loaded" in err:
        pytest.skip(f"no {layer} here")
    assert (status, err) == (0, "")
    if used and layer == "omp" and out != "[1.0, 1.0, 1.0, 1.0]\n":  # as GNU's always does
        assert out.startswith("refused: ")
        assert "spawn" in out
    else:
        assert out == "[1.0, 1.0, 1.0, 1.0]\n"
