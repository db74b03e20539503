"""What every command does before its work: set threads and device, and compile the kernels.

Under MPI the ranks of a machine share its threads, and one of them compiles.
"""

from __future__ import annotations

import argparse
import logging

import numpy as np

from .. import jit
from ..backend import HOST, check_device
from ..datasets import ToyShapes
from ..errors import InputError
from ..models.builders import maskrcnn_resnet50_fpn, maskrcnn_tiny
from ..optim import Muon, grad_norm
from ..training.distributed import MPIGroup, world

logger = logging.getLogger(__name__)


def prepare(options: argparse.Namespace) -> None:
    """Apply --threads and --device, and say so if kernels are going to be compiled first.

    Raises:
        InputError: this machine has no such device, or not so many threads.
    """
    try:
        check_device(options.device)
    except InputError as problem:
        raise InputError(f"--{str(problem).removeprefix('--')}") from problem
    group = world()
    if options.threads is not None:
        try:
            jit.set_threads(options.threads)
        except ValueError as problem:
            raise InputError(f"--{problem}") from problem
    elif isinstance(group, MPIGroup):
        jit.set_threads(max(1, jit.max_threads() // group.local.size))
    if HOST == "reference":
        logger.info("NUMBA_DISABLE_JIT is set: plain NumPy does the work, and takes its time")
    cold = HOST == "cpu" and jit.kernel_cache.is_cold()
    if cold and jit.kernel_cache.is_writable():
        logger.info("compiling the kernels for this machine, once; this takes about a minute")
    if isinstance(group, MPIGroup):
        group.first_here(compile_everything if cold else lambda: None)


def compile_everything() -> None:
    """Use every kernel once, so that it is compiled and kept."""
    _compile_training()
    _compile_inference()


def _compile_training() -> None:
    """One step of the small model: all kernels, forward and backward."""
    shapes = ToyShapes(2, min_objects=2)
    images, targets = zip(*(shapes[i] for i in range(len(shapes))), strict=True)
    for norm in ("batch", "group", "frozen"):
        model = maskrcnn_tiny(norm=norm)
        optimizer = Muon(model.parameters(), lr=0.0, momentum=0.9)
        model.train()
        sum(model(images, targets).values()).backward()
        grad_norm(model.parameters())
        optimizer.step()
    model.eval()
    model.detect(images[:1])


def _compile_inference() -> None:
    """One small image through the large model: the shapes of convolution that only it has."""
    model = maskrcnn_resnet50_fpn(min_size=64, max_size=64, box_score_thresh=0.0)
    model.eval()
    model.detect([np.zeros((3, 64, 64), np.float32)])
