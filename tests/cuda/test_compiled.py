"""Compile and assemble every kernel for real GPUs, without having one; and see what the interpreter
says about kernels that are broken on purpose.
"""

import inspect
from types import SimpleNamespace

import numpy as np
import pytest

from .modes import has_compiler, mode

if mode() in (None, "simulator") or not has_compiler():
    pytest.skip("needs numba-cuda's compiler", allow_module_level=True)

from lessons import load
from lessons.plain_kernels import kernels_of
from tinymaskrcnn.gpu.launch import F1, cuda

from .compiling import CAPABILITIES, measure, problems, ptx_of
from .interpreter import Program, PtxFault, launch
from .registry import all_kernels

pytestmark = pytest.mark.cuda


@pytest.mark.parametrize("capability", CAPABILITIES, ids=["sm_75", "sm_80", "sm_90"])
@pytest.mark.parametrize("name", sorted(all_kernels()))
def test_within_its_budget(name, capability):
    kernel = all_kernels()[name]
    figures = measure(kernel, capability)
    assert figures["code bytes"] > 0 and figures["registers"] > 0
    assert problems(kernel, figures) == []


def test_a_budget_can_be_broken():
    kernel = all_kernels()["cuda_gemm.teaching"]
    figures = measure(kernel, (8, 0))
    assert figures["shared bytes"] >= 2 * 16 * 16 * 4
    worse = figures | {"registers": 300, "float64": 2, "spilled bytes": 8}
    assert len(problems(kernel, worse)) == 4


def product(ptx, rows=33, out_rows=33):
    """A 33x20 by 20x33 product: by the teaching kernel as compiled, or a changed form of it."""
    kernel = all_kernels()["cuda_gemm.teaching"]
    rng = np.random.default_rng(0)
    a, b = rng.random((rows, 20), np.float32), rng.random((20, 33), np.float32)
    c = np.full((out_rows, 33), np.nan, np.float32)
    sizes = [tuple(map(np.int32, t)) for t in ((rows, 33, 20), (0, 20, 1), (0, 33, 1))]
    arrays = [x.reshape(-1) for x in (a, b, c, c)]
    launch(Program(ptx), (3, 3), kernel.threads, [*arrays, *sizes, np.int32(0), np.int32(0)])
    return c, a @ b


def test_the_teaching_product_as_compiled():
    found, expected = product(ptx_of(all_kernels()["cuda_gemm.teaching"]))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("which, what", [(0, "read"), (1, "write")])
def test_without_one_of_its_barriers_it_races(which, what):
    before, first, after = ptx_of(all_kernels()["cuda_gemm.teaching"]).split("bar.sync")
    marks = ["//" if i == which else "bar.sync" for i in range(2)]
    with pytest.raises(PtxFault, match=rf"race \({what}\)"):
        product(before + marks[0] + first + marks[1] + after)


def test_a_result_that_is_too_short_is_out_of_bounds():
    with pytest.raises(PtxFault, match="out of bounds"):
        product(ptx_of(all_kernels()["cuda_gemm.teaching"]), out_rows=20)


def lesson_kernel(name):
    """A small kernel of lesson 18, with Numba's barrier in place of the lesson's `yield`."""
    source = inspect.getsource(getattr(load("gpu_kernels"), name))
    source = source.replace("(cuda, ", "(").replace("yield", "cuda.syncthreads()")
    names = {"cuda": cuda}
    exec(source, names)
    return SimpleNamespace(function=names[name], types=(F1, F1), threads=(8,))


def test_what_the_lesson_calls_a_race_is_one_as_compiled():
    x, out = np.arange(8, dtype=np.float32), np.full(8, np.nan, np.float32)
    for name in ("with_neighbour", "racing"):
        kernel = lesson_kernel(name)
        program = Program(ptx_of.__wrapped__(kernel))
        if name == "racing":
            with pytest.raises(PtxFault, match=r"race \(read\)"):
                launch(program, (1,), kernel.threads, [x, out])
        else:
            launch(program, (1,), kernel.threads, [x, out])
            np.testing.assert_array_equal(out, x + np.roll(x, -1))


@pytest.mark.parametrize("which", range(2))
def test_the_lesson_and_the_interpreter_agree_on_the_sum_without_a_barrier(which):
    before, *parts = ptx_of(all_kernels()["cuda_sums.rows"]).split("bar.sync")
    assert len(parts) == 2
    broken = before + "".join(("//" if i == which else "bar.sync") + p for i, p in enumerate(parts))
    x, partial = np.ones((1, 700), np.float32), np.zeros((1, 1), np.float32)
    with pytest.raises(PtxFault, match="race"):
        launch(Program(broken), (1, 1), (256,), [x, np.int32(700), partial])
    hasty = kernels_of("ops.cuda_sums", without_barrier=which)._rows
    faults, _ = load("gpu_kernels").run_grid(hasty, (1,), (256,), x, 700, partial)
    assert "race" in faults[0]
