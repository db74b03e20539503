"""Register tiles and transforms against loops, for this machine's vector width and for others."""

import os
import subprocess
import sys

import llvmlite.binding
import numba
import numpy as np
import pytest
from llvmlite import ir
from llvmlite.binding.targets import FeatureMap

from tinymaskrcnn.jit import serial
from tinymaskrcnn.ops import simd
from tinymaskrcnn.ops.conv2d.winograd import INPUT, OUTPUT, WEIGHT
from tinymaskrcnn.ops.simd import HALF_ROWS, LANES, PANEL, TILE_ROWS, half_tile, row_tile
from tinymaskrcnn.ops.simd_transforms import (
    gather_transform,
    grid_transform,
    scatter_transform,
    transpose_block,
)

_gather = gather_transform(INPUT[4])
_scatter = scatter_transform(OUTPUT[4])
_grid = grid_transform(WEIGHT[4])


@serial
def call_row_tile(rows, taps, depth, shift, panel, targets, bias, columns, residual, add, relu):
    row_tile(
        rows, 0, taps, depth, shift, panel, 0, targets, 0, 0, bias, 0, columns, residual, add, relu
    )


@serial
def call_half_tile(rows, taps, depth, shift, panel, targets, bias, columns, residual, add, relu):
    half_tile(
        rows, 0, taps, depth, shift, panel, 0, targets, 0, 0, bias, 0, columns, residual, add, relu
    )


@serial
def call_transforms(table, vectors, gathered, targets, bias, kernel, transformed):
    _gather(table, 0, 0, gathered, 0, LANES)
    _scatter(gathered, 0, LANES, targets, 0, 0, bias, 0, 0, 0, 1)
    _grid(kernel, 0, LANES, transformed, 0, LANES)


@serial
def call_transpose(source, pitch, rows, columns, out, places):
    transpose_block(source, 0, pitch, rows, columns, out, 0, places, 0)


def normal(*shape):
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def addresses(array):
    """The byte address of every row of the last axis."""
    rows = array.reshape(-1, array.shape[-1])
    return rows.ctypes.data + rows.strides[0] * np.arange(len(rows))


@pytest.mark.parametrize("taps, depth", [(1, 1), (1, 4), (3, 7), (2, 64)])
@pytest.mark.parametrize("columns", [1, LANES - 1, LANES, LANES + 1, PANEL])
@pytest.mark.parametrize("add, relu", [(0, 0), (1, 1)])
@pytest.mark.parametrize("call, rows", [(call_row_tile, TILE_ROWS), (call_half_tile, HALF_ROWS)])
def test_row_tile(taps, depth, columns, add, relu, call, rows):
    shift = 2
    pixels, panel = normal(taps, rows, shift + depth), normal(taps, depth, PANEL)
    bias, memory = normal(columns), normal(2, rows, columns + 3)
    y, residual = memory
    before, expected = memory.copy(), memory.copy()
    for i in range(rows):
        for j in range(columns):
            total = float(bias[j])
            for t in range(taps):
                for k in range(depth):
                    total += float(pixels[t, i, shift + k]) * float(panel[t, k, j])
            total += add * float(residual[i, j])
            expected[0, i, j] = max(total, 0) if relu else total
    distance = (residual.ctypes.data - y.ctypes.data) // 4
    call(
        addresses(pixels), taps, depth, shift, panel.reshape(-1), addresses(y), bias, columns,
        distance, add, relu,
    )  # fmt: skip
    np.testing.assert_allclose(y[:, :columns], expected[0, :, :columns], atol=1e-4, rtol=1e-5)
    assert np.array_equal(y[:, columns:], before[0, :, columns:])  # nothing beyond the columns


def test_row_tile_keeps_nan():
    pixels, y = np.full((1, TILE_ROWS, 4), np.nan, np.float32), normal(TILE_ROWS, PANEL)
    panel, bias = normal(4, PANEL), normal(PANEL)
    call_row_tile(addresses(pixels), 1, 4, 0, panel.reshape(-1), addresses(y), bias, PANEL, 0, 0, 1)
    assert np.isnan(y).all()


def test_transforms():
    image, kernel, bias = normal(6, 6, LANES), normal(3, 3, LANES), normal(LANES)
    gathered, y = np.empty((6, 6, LANES), np.float32), np.empty((4, 4, LANES), np.float32)
    transformed = np.empty((6, 6, LANES), np.float32)
    call_transforms(
        addresses(image), image.reshape(-1), gathered.reshape(-1), addresses(y), bias,
        kernel.reshape(-1), transformed.reshape(-1),
    )  # fmt: skip

    def both(matrix, square):
        matrix = np.array(matrix, np.float64)
        return np.einsum("ri,sj,ijc->rsc", matrix, matrix, square.astype(np.float64))

    np.testing.assert_allclose(gathered, both(INPUT[4], image), atol=1e-4)
    np.testing.assert_allclose(transformed, both(WEIGHT[4], kernel), atol=1e-6)
    expected = np.maximum(both(OUTPUT[4], gathered) + bias, 0)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("size", [2, 4])
def test_winograd_matrices_filter(size):
    """A' (G g * B' d) is the correlation of d with g."""
    d, g = normal(size + 2).astype(np.float64), normal(1, 3)[0].astype(np.float64)
    expected = [sum(d[i + k] * g[k] for k in range(3)) for i in range(size)]
    product = (np.array(WEIGHT[size]) @ g) * (np.array(INPUT[size]) @ d)
    np.testing.assert_allclose(np.array(OUTPUT[size]) @ product, expected, atol=1e-12)


@pytest.mark.parametrize("rows", [1, LANES - 1, LANES])
@pytest.mark.parametrize("columns", [1, LANES - 1, LANES])
def test_transpose_block(rows, columns):
    source = normal(rows, columns)  # exactly what may be read
    out = np.full((LANES, LANES), 7, np.float32)
    places = (LANES - 1 - np.arange(LANES)) * LANES  # from the last row up
    call_transpose(source.reshape(-1), columns, rows, columns, out.reshape(-1), places)
    assert np.array_equal(out[::-1][:columns, :rows], source.T)
    assert not out[::-1][:columns, rows:].any()
    assert (out[::-1][columns:] == 7).all()


@pytest.mark.parametrize(
    "features, machine, shape",
    [
        ({"avx", "avx2", "fma", "avx512f"}, "x86_64", (16, 12)),
        ({"avx", "avx2", "fma"}, "AMD64", (8, 6)),
        ({"sse2"}, "x86_64", (4, 5)),
        (set(), "aarch64", (4, 8)),
        ({"neon"}, "arm64", (4, 8)),
        ({"neon"}, "ARM64", (4, 8)),  # as Windows spells it
    ],
)
def test_tile_shape(features, machine, shape):
    assert simd.tile_shape(features, machine) == shape


def test_tiles_are_made_for_the_features_that_numba_leaves_on(monkeypatch):
    present = {"sse2": True, "avx": True, "avx2": True, "f16c": False}
    monkeypatch.setattr(llvmlite.binding, "get_host_cpu_features", lambda: FeatureMap(present))
    monkeypatch.setattr(numba.config, "CPU_FEATURES", None)
    assert simd.host_features() == {"sse2", "avx", "avx2"}
    monkeypatch.setattr(numba.config, "ENABLE_AVX", 0)
    assert simd.host_features() == {"sse2"}
    monkeypatch.setattr(numba.config, "CPU_FEATURES", "+avx,-sse2")
    assert simd.host_features() == {"avx"}


@pytest.mark.skipif(
    llvmlite.binding.llvm_version_info < (20,), reason="LLVM 15 spills a register for SSE"
)
@pytest.mark.parametrize(
    "triple, features, lanes, rows, product, register",
    [
        ("x86_64-linux-gnu", "+avx512f,+avx512vl,+avx2,+fma", 16, 12, "vfmadd", "%zmm"),
        ("x86_64-linux-gnu", "+avx2,+fma", 8, 6, "vfmadd", "%ymm"),
        ("x86_64-linux-gnu", "", 4, 5, "mulps", "%xmm"),
        ("aarch64-linux-gnu", "+neon", 4, 8, "fmla", ".4s"),
    ],
)
@pytest.mark.parametrize("width", [1, 2])
def test_row_tile_on_other_processors(triple, features, lanes, rows, product, register, width):
    """The tile compiles for them, multiplies whole vectors, and keeps its sums in registers."""
    llvmlite.binding.initialize_all_targets()
    llvmlite.binding.initialize_all_asmprinters()
    try:
        target = llvmlite.binding.Target.from_triple(triple)
    except RuntimeError:
        pytest.skip(f"this llvmlite knows no {triple}")
    module = llvmlite.binding.parse_assembly(_row_tile_module(triple, lanes, rows, width))
    assembly = target.create_target_machine(features=features, opt=3).emit_assembly(module)
    products = [line for line in assembly.splitlines() if product in line and register in line]
    assert len(products) == width * rows * (
        4 + 1
    )  # rounds of four steps, then the remaining single steps
    first = assembly.index(products[0])
    turn = assembly[first : assembly.index(products[4 * width * rows - 1])]
    stored = [f"{register}{i}, " for i in range(32)]
    spills = [
        line
        for line in turn.splitlines()
        if ("mov" in line and any(s in line for s in stored) and "(%rsp)" in line)
        or ("str\tq" in line and "[sp" in line)
    ]
    assert not spills


def _row_tile_module(triple, lanes, rows, width):
    """The LLVM text of a function that consists of one row tile."""
    tables, floats = ir.IntType(64).as_pointer(), ir.FloatType().as_pointer()
    names = [
        *("rows", "taps", "depth", "shift", "panel", "targets", "target_shift", "bias"),
        *("columns", "residual", "add_residual", "relu"),
    ]
    kinds = {"rows": tables, "targets": tables, "panel": floats, "bias": floats}
    module = ir.Module("tile")
    module.triple = triple
    arguments = [kinds.get(name, simd.INT) for name in names]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), arguments), "tile")
    builder = ir.IRBuilder(function.append_basic_block())
    emitter = simd.Emitter(builder, lanes)
    named = dict(zip(names, function.args, strict=True))
    simd.emit_row_tile(emitter, rows, width, 2 * lanes, named)
    builder.ret_void()
    return str(module)


GENERIC = """
import numpy as np
from tinymaskrcnn.ops import simd
from tinymaskrcnn.ops.conv2d import cpu, reference
from tinymaskrcnn.ops.conv2d.winograd import winograd

rng = np.random.default_rng(0)
draw = lambda *shape: rng.standard_normal(shape).astype(np.float32)
assert (simd.LANES, simd.TILE_ROWS) in [(4, 5), (4, 8)], simd.LANES
for channels, outs, kernel, stride in ((3, 5, 3, 2), (8, 12, 1, 1), (8, 12, 3, 1)):
    x, weight, bias = draw(2, 9, 11, channels), draw(outs, channels, kernel, kernel), draw(outs)
    geometry = (stride, stride), (kernel // 2, kernel // 2), (1, 1), 1
    expected = reference.conv2d(x, weight, bias, None, *geometry, True)
    grad = draw(*expected.shape)
    slope = reference.conv2d_grad_input(grad, weight, x.shape, *geometry)
    for size in (0, 4):
        with winograd(size):
            y = cpu.conv2d(x, weight, bias, None, *geometry, True)
            dx = cpu.conv2d_grad_input(grad, weight, x.shape, *geometry)
        assert np.abs(y - expected).max() <= 3e-5 * np.abs(expected).max()
        assert np.abs(dx - slope).max() <= 3e-5 * np.abs(slope).max()
"""


def test_a_processor_without_wide_vectors():
    """Its kernels are kept beside our own: a kernel's name in the cache has the processor in it."""
    environment = os.environ | {"NUMBA_CPU_NAME": "generic"}
    run = subprocess.run(
        [sys.executable, "-c", GENERIC], env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
