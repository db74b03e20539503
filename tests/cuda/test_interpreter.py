"""The PTX interpreter: every opcode, with values from Python's own numbers, and every fault."""

import math
import struct

import numpy as np
import pytest

from .interpreter import Program, PtxFault
from .ptx_text import apply, element, kernel, run

LARGE = 2**32 - 3
WIDE = 2**64 - 5


def single(value):
    """A Python float rounded to float32."""
    return struct.unpack("f", struct.pack("f", value))[0]


def signed(value, bits):
    value &= 2**bits - 1
    return value - 2**bits if value >> (bits - 1) else value


# Integer arithmetic

WHOLE = [
    ("add.s32 $0, $1, $2;", "s32", [(2**31 - 1, 1), (-7, 3)], lambda a, b: signed(a + b, 32)),
    ("sub.s32 $0, $1, $2;", "s32", [(-(2**31), 1), (4, 9)], lambda a, b: signed(a - b, 32)),
    ("mul.lo.s32 $0, $1, $2;", "s32", [(70000, 70000), (-3, 5)], lambda a, b: signed(a * b, 32)),
    ("mul.lo.u32 $0, $1, $2;", "u32", [(LARGE, LARGE), (7, 9)], lambda a, b: a * b % 2**32),
    ("mul.hi.u32 $0, $1, $2;", "u32", [(LARGE, LARGE), (7, 9)], lambda a, b: a * b >> 32),
    ("mul.hi.s32 $0, $1, $2;", "s32", [(-(2**31), 3), (7, -9)], lambda a, b: a * b >> 32),
    ("mul.lo.s64 $0, $1, $2;", "s64", [(2**62, 3), (-5, 7)], lambda a, b: signed(a * b, 64)),
    ("mul.hi.u64 $0, $1, $2;", "u64", [(WIDE, WIDE), (3, 5)], lambda a, b: a * b >> 64),
    ("mul.hi.s64 $0, $1, $2;", "s64", [(-(2**62), 12), (3, 5)], lambda a, b: a * b >> 64),
    ("div.s32 $0, $1, $2;", "s32", [(-7, 2), (7, -2), (6, 3)], lambda a, b: int(a / b)),
    ("div.s64 $0, $1, $2;", "s64", [(-7, 2), (7, -2), (6, 3)], lambda a, b: int(a / b)),
    ("div.u32 $0, $1, $2;", "u32", [(LARGE, 10), (6, 7)], lambda a, b: a // b),
    ("div.u64 $0, $1, $2;", "u64", [(WIDE, 10), (6, 7)], lambda a, b: a // b),
    ("rem.s32 $0, $1, $2;", "s32", [(-7, 3), (7, -3)], lambda a, b: a - b * int(a / b)),
    ("rem.s64 $0, $1, $2;", "s64", [(-7, 3), (7, -3)], lambda a, b: a - b * int(a / b)),
    ("rem.u32 $0, $1, $2;", "u32", [(LARGE, 10), (6, 7)], lambda a, b: a % b),
    ("min.s32 $0, $1, $2;", "s32", [(-1, 1), (5, 2)], min),
    ("max.s64 $0, $1, $2;", "s64", [(-1, 1), (5, 2)], max),
    ("and.b32 $0, $1, $2;", "b32", [(0b1100, 0b1010)], lambda a, b: a & b),
    ("or.b64 $0, $1, $2;", "b64", [(0b1100, 1 << 60)], lambda a, b: a | b),
    ("xor.b32 $0, $1, $2;", "b32", [(0b1100, 0b1010)], lambda a, b: a ^ b),
    ("and.b64 $0, $1, -4294967296;", "b64", [(WIDE, 0)], lambda a, b: a >> 32 << 32),
    ("neg.s32 $0, $1;", "s32", [(5, 0), (-8, 0)], lambda a, b: -a),
    ("abs.s32 $0, $1;", "s32", [(5, 0), (-8, 0)], lambda a, b: abs(a)),
    ("not.b32 $0, $1;", "b32", [(5, 0)], lambda a, b: 2**32 - 1 - a),
    ("selp.b32 $0, 3, 4, %p0;", "b32", [(5, 0)], lambda a, b: 4),
]


@pytest.mark.parametrize("instruction, kind, pairs, python", WHOLE, ids=[w[0] for w in WHOLE])
def test_whole_numbers(instruction, kind, pairs, python):
    given = [list(column) for column in zip(*pairs, strict=True)]
    out = apply(instruction, (kind, kind), kind, *given)
    assert out.tolist() == [python(a, b) for a, b in pairs]


@pytest.mark.parametrize(
    "instruction, kinds, result, values, expected",
    [
        ("shl.b32 $0, $1, $2;", ("b32", "u32"), "b32", ([1, 3, 1], [4, 31, 32]), [16, 2**31, 0]),
        ("shr.u32 $0, $1, $2;", ("u32", "u32"), "u32", ([LARGE, 8], [1, 40]), [LARGE >> 1, 0]),
        ("shr.s32 $0, $1, $2;", ("s32", "u32"), "s32", ([-8, -8], [1, 40]), [-4, -1]),
        ("shr.s64 $0, $1, $2;", ("s64", "u32"), "s64", ([-8, 2**40], [1, 8]), [-4, 2**32]),
        ("mul.wide.s32 $0, $1, $2;", ("s32", "s32"), "s64", ([-(2**31)], [2**31 - 1]),
         [-(2**31) * (2**31 - 1)]),
        ("mul.wide.u32 $0, $1, $2;", ("u32", "u32"), "u64", ([LARGE], [LARGE]), [LARGE**2]),
        ("mad.lo.s32 $0, $1, $2, $3;", ("s32",) * 3, "s32", ([5], [-3], [7]), [-8]),
        ("popc.b32 $0, $1;", ("b32",), "u32", ([0, 0b1011],), [0, 3]),
        ("clz.b32 $0, $1;", ("b32",), "u32", ([0, 1, 2**31],), [32, 31, 0]),
        ("clz.b64 $0, $1;", ("b64",), "u32", ([0, 1, 2**63],), [64, 63, 0]),
        ("brev.b32 $0, $1;", ("b32",), "b32", ([1, 0b110],), [2**31, 0b011 << 29]),
        ("bfe.u32 $0, $1, 4, 8;", ("u32",), "u32", ([0xABCDE],), [0xCD]),
        ("bfi.b32 $0, $1, $2, 8, 4;", ("b32", "b32"), "b32", ([0xF5], [0xFFFF]), [0xF5FF]),
        ("mov.b64 $0, {$1, $2};", ("b32", "b32"), "b64", ([7], [9]), [9 * 2**32 + 7]),
    ],
)  # fmt: skip
def test_shifts_bits_and_wide_products(instruction, kinds, result, values, expected):
    assert apply(instruction, kinds, result, *values).tolist() == expected


def test_a_wide_register_comes_apart():
    out = apply(
        "mov.b64 {%r80, %r81}, $1; sub.s32 $0, %r81, %r80;", ("b64",), "s32", [(9 << 32) + 4]
    )
    assert out.tolist() == [5]


# Floats

A, B, C = [1.5, -2.25, 1e30, 0.1], [3.0, 0.7, 1e30, 0.2], [0.1, 1e-8, -1e38, -0.02]


@pytest.mark.parametrize(
    "instruction, python",
    [
        ("add.f32 $0, $1, $2;", lambda a, b, c: a + b),
        ("add.rn.f32 $0, $1, $2;", lambda a, b, c: a + b),
        ("sub.f32 $0, $1, $2;", lambda a, b, c: a - b),
        ("mul.f32 $0, $1, $3;", lambda a, b, c: a * c),
        ("mul.rn.f32 $0, $1, $3;", lambda a, b, c: a * c),
        ("div.rn.f32 $0, $1, $2;", lambda a, b, c: a / b),
        ("fma.rn.f32 $0, $1, $3, $2;", lambda a, b, c: a * c + b),
        ("min.f32 $0, $1, $2;", lambda a, b, c: min(a, b)),
        ("max.f32 $0, $1, $2;", lambda a, b, c: max(a, b)),
        ("neg.f32 $0, $1;", lambda a, b, c: -a),
        ("abs.f32 $0, $1;", lambda a, b, c: abs(a)),
        ("copysign.f32 $0, $1, $2;", lambda a, b, c: math.copysign(b, a)),
        ("sqrt.rn.f32 $0, $2;", lambda a, b, c: math.sqrt(b)),
        ("rcp.rn.f32 $0, $2;", lambda a, b, c: 1 / b),
    ],
)
def test_floats(instruction, python):
    rounded = [[single(v) for v in values] for values in (A, B, C)]
    out = apply(instruction, ("f32",) * 3, "f32", A, B, C)
    expected = [single(python(*values)) for values in zip(*rounded, strict=True)]
    assert out.tolist() == expected


@pytest.mark.parametrize(
    "instruction, python",
    [
        ("ex2.approx.ftz.f32 $0, $1;", lambda a: 2**a),
        ("lg2.approx.f32 $0, $1;", math.log2),
        ("rsqrt.approx.f32 $0, $1;", lambda a: 1 / math.sqrt(a)),
        ("sin.approx.f32 $0, $1;", math.sin),
        ("cos.approx.f32 $0, $1;", math.cos),
        ("tanh.approx.f32 $0, $1;", math.tanh),
    ],
)
def test_approximations(instruction, python):
    out = apply(instruction, ("f32",), "f32", [0.25, 1.0, 2.5])
    np.testing.assert_allclose(out, [python(a) for a in (0.25, 1.0, 2.5)], rtol=1e-6)


def test_rounding_in_a_direction():
    third = single(1 / 3)  # above a third
    assert apply("fma.rm.f32 $0, $1, $2, $3;", ("f32",) * 3, "f32", [1], [1], [2**-30]) == 1
    assert apply("fma.rp.f32 $0, $1, $2, $3;", ("f32",) * 3, "f32", [1], [1], [2**-30]) > 1
    assert apply("add.rz.f32 $0, $1, $2;", ("f32",) * 2, "f32", [-1], [-(2**-30)]) == -1
    assert apply("add.rm.f32 $0, $1, $2;", ("f32",) * 2, "f32", [-1], [-(2**-30)]) < -1
    assert third == apply("add.rn.f32 $0, $1, 0f00000000;", ("f32",), "f32", [third])


def test_saturation():
    given = [-1.0, 0.25, 7.0, float("nan")]
    assert apply("cvt.sat.f32.f32 $0, $1;", ("f32",), "f32", given).tolist() == [0, 0.25, 1, 0]
    out = apply("fma.rn.sat.f32 $0, $1, $1, 0f3F000000;", ("f32",), "f32", [0.5, 3.0])
    assert out.tolist() == [0.75, 1]


def test_nan_loses_a_minimum():
    nan = float("nan")
    assert apply("min.f32 $0, $1, $2;", ("f32",) * 2, "f32", [nan, 2], [1, nan]).tolist() == [1, 2]


# Conversions and comparisons


@pytest.mark.parametrize(
    "instruction, kind, result, values, expected",
    [
        ("cvt.rzi.s32.f32 $0, $1;", "f32", "s32", [-1.7, 2.9, 3e9, float("nan")],
         [-1, 2, 2**31 - 1, 0]),
        ("cvt.rni.s32.f32 $0, $1;", "f32", "s32", [0.5, 1.5, -2.5], [0, 2, -2]),
        ("cvt.rmi.f32.f32 $0, $1;", "f32", "f32", [-1.5, 1.5], [-2, 1]),
        ("cvt.rpi.f32.f32 $0, $1;", "f32", "f32", [-1.5, 1.5], [-1, 2]),
        ("cvt.rzi.u32.f32 $0, $1;", "f32", "u32", [-3.0, 3.9], [0, 3]),
        ("cvt.rn.f32.s32 $0, $1;", "s32", "f32", [-3, 2**24 + 1], [-3, 2**24]),
        ("cvt.rn.f32.s64 $0, $1;", "s64", "f32", [-3, 2**40], [-3, 2**40]),
        ("cvt.rn.f32.u64 $0, $1;", "u64", "f32", [2**63], [2.0**63]),
        ("cvt.u32.u64 $0, $1;", "u64", "u32", [2**32 + 5], [5]),
        ("cvt.s64.s32 $0, $1;", "s32", "s64", [-5], [-5]),
        ("cvt.u64.u32 $0, $1;", "u32", "u64", [LARGE], [LARGE]),
        ("cvt.s64.s16 $0, $1;", "s16", "s64", [-5], [-5]),
        ("cvt.u16.u32 $0, $1;", "u32", "u16", [65537], [1]),
    ],
)  # fmt: skip
def test_conversions(instruction, kind, result, values, expected):
    assert apply(instruction, (kind,), result, values).tolist() == expected


X, Y = [1.0, 2.0, 2.0, float("nan")], [2.0, 2.0, 1.0, 1.0]


@pytest.mark.parametrize(
    "comparison, expected",
    [
        ("lt", [1, 0, 0, 0]), ("le", [1, 1, 0, 0]), ("gt", [0, 0, 1, 0]), ("ge", [0, 1, 1, 0]),
        ("eq", [0, 1, 0, 0]), ("ne", [1, 0, 1, 0]), ("ltu", [1, 0, 0, 1]), ("leu", [1, 1, 0, 1]),
        ("gtu", [0, 0, 1, 1]), ("geu", [0, 1, 1, 1]), ("equ", [0, 1, 0, 1]), ("neu", [1, 0, 1, 1]),
        ("num", [1, 1, 1, 0]), ("nan", [0, 0, 0, 1]),
    ],
)  # fmt: skip
def test_comparisons_of_floats(comparison, expected):
    code = f"setp.{comparison}.f32 %p1, $1, $2; selp.u32 $0, 1, 0, %p1;"
    assert apply(code, ("f32", "f32"), "u32", X, Y).tolist() == expected


def test_comparisons_of_whole_numbers_know_the_sign():
    code = "setp.lt.{0} %p1, $1, $2; selp.u32 $0, 1, 0, %p1;"
    assert apply(code.format("s32"), ("s32", "s32"), "u32", [-1], [1]).tolist() == [1]
    assert apply(code.format("u32"), ("s32", "s32"), "u32", [-1], [1]).tolist() == [0]
    assert apply(code.format("s64"), ("s64", "s64"), "u32", [-1], [1]).tolist() == [1]


@pytest.mark.parametrize("logic, expected", [("and", [0, 1]), ("or", [1, 1]), ("xor", [1, 0])])
def test_comparisons_with_another_predicate(logic, expected):
    code = f"setp.lt.u32 %p2, $1, 10; setp.{logic}.u32 %p1, $1, 5, %p2; selp.u32 $0, 1, 0, %p1;"
    code = code.replace(f"setp.{logic}.", f"setp.lt.{logic}.")
    assert apply(code, ("u32",), "u32", [7, 3]).tolist() == expected


def test_predicates():
    code = (
        "setp.lt.u32 %p1, $1, 5; mov.pred %p2, 0; not.pred %p3, %p2; and.pred %p4, %p1, %p3;"
        "xor.pred %p5, %p4, %p3; or.pred %p6, %p5, %p2; mov.u32 $0, 0; @%p6 mov.u32 $0, 7;"
        "@!%p6 add.s32 $0, $0, 2;"
    )
    assert apply(code, ("u32",), "u32", [3, 9]).tolist() == [2, 7]


# Memory


def test_vectors_of_two_and_four():
    x, out = np.arange(8, dtype=np.float32), np.zeros(8, np.float32)
    body = element(0, 16) + element(1, 16)
    body += "ld.global.v4.f32 {%f1, %f2, %f3, %f4}, [%rd60];\n"
    body += "st.global.v2.f32 [%rd61], {%f4, %f3};\nst.global.v2.f32 [%rd61+8], {%f2, %f1};\n"
    run(kernel(body, 2), [x, out], 2)
    assert out.tolist() == [3, 2, 1, 0, 7, 6, 5, 4]


def test_bytes_and_half_words():
    x, out = np.array([200, 3], np.uint8), np.zeros(2, np.int32)
    body = (
        element(0, 1) + element(1, 4) + "ld.global.s8 %r1, [%rd60];\nst.global.u32 [%rd61], %r1;\n"
    )
    run(kernel(body, 2), [x, out], 2)
    assert out.tolist() == [-56, 3]


SHARED = ".shared .align 4 .b8 tile[64];"
OWN_SHARED = "mov.u32 %r1, tile; shl.b32 %r2, %r50, 2; add.s32 %r3, %r1, %r2;\n"


def neighbour(barrier):
    """Each of 16 threads puts its x into shared memory and reads its neighbour's."""
    return kernel(
        element(0, 4) + element(1, 4) + OWN_SHARED + "ld.global.f32 %f1, [%rd60];\n"
        f"st.shared.f32 [%r3], %f1;\n{barrier}\nxor.b32 %r4, %r2, 4; add.s32 %r5, %r1, %r4;\n"
        "ld.shared.f32 %f2, [%r5];\nst.global.f32 [%rd61], %f2;\n",
        2,
        SHARED,
    )


def test_shared_memory():
    x, out = np.arange(16, dtype=np.float32), np.zeros(16, np.float32)
    run(neighbour("bar.sync 0;"), [x, out], 16)
    assert out.tolist() == [i ^ 1 for i in range(16)]


def test_each_block_has_shared_memory_of_its_own():
    body = OWN_SHARED + (
        "mov.u32 %r6, %ctaid.x; st.shared.u32 [%r3], %r6; bar.sync 0; ld.shared.u32 %r7, [%r3];\n"
        "mov.u32 %r8, %ntid.x; mad.lo.s32 %r9, %r6, %r8, %r50; mul.wide.u32 %rd1, %r9, 4;\n"
        "add.s64 %rd2, %rd50, %rd1; st.global.u32 [%rd2], %r7;\n"
    )
    out = np.zeros(12, np.int32)
    run(kernel(body, 1, SHARED), [out], 4, grid=3)
    assert out.tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_atomics_add_in_the_order_of_threads():
    total, out = np.array([5], np.int32), np.zeros(4, np.int32)
    body = element(1, 4) + "atom.global.add.u32 %r1, [%rd50], 2;\nst.global.u32 [%rd61], %r1;\n"
    run(kernel(body, 2), [total, out], 4)
    assert (total.tolist(), out.tolist()) == ([13], [5, 7, 9, 11])


def test_local_memory_is_the_threads_own():
    body = element(0, 4) + (
        ".local .align 4 .b8 own[8];\n"
        "mov.u64 %rd1, own; st.local.u32 [%rd1+4], %r50; ld.local.u32 %r1, [%rd1+4];\n"
        "st.global.u32 [%rd60], %r1;\n"
    )
    out = np.zeros(4, np.int32)
    run(kernel(body, 1), [out], 4)
    assert out.tolist() == [0, 1, 2, 3]


def test_an_array_that_is_passed_twice_is_one():
    x = np.zeros(4, np.float32)
    body = element(0, 4) + element(1, 4)
    body += "mov.f32 %f1, 0f3F800000; st.global.f32 [%rd60], %f1;\n"
    body += "ld.global.f32 %f2, [%rd61]; add.f32 %f3, %f2, %f2; st.global.f32 [%rd61], %f3;\n"
    run(kernel(body, 2), [x, x], 4)
    assert x.tolist() == [2] * 4


# Control


def test_threads_part_and_meet_again():
    """A loop with as many rounds as the thread's number, and different ways out."""
    body = element(0, 4) + (
        "mov.u32 %r1, 0; mov.u32 %r2, 0;\n$LOOP:\nsetp.ge.u32 %p1, %r2, %r50;\n@%p1 bra $DONE;\n"
        "add.s32 %r1, %r1, %r2; add.s32 %r2, %r2, 1;\nbra.uni $LOOP;\n$DONE:\n"
        "setp.eq.s32 %p2, %r50, 3;\n@%p2 ret;\nst.global.u32 [%rd60], %r1;\n"
    )
    out = np.full(6, -1, np.int32)
    run(kernel(body, 1), [out], 6)
    assert out.tolist() == [0, 0, 1, -1, 6, 10]


# Faults


def faults(match, text, arrays, threads, **settings):
    with pytest.raises(PtxFault, match=match):
        run(text, arrays, threads, **settings)


def test_out_of_bounds_and_misaligned():
    body = element(0, 4) + "st.global.u32 [%rd60{}], %r50;\n"
    out = np.zeros(3, np.int32)
    faults("out of bounds", kernel(body.format(""), 1), [out], 4)
    faults("out of bounds", kernel(body.format("+-4"), 1), [out], 3)
    faults("misaligned", kernel(body.format("+2"), 1), [out], 1)
    text = kernel(element(0, 4) + OWN_SHARED + "st.shared.u32 [%r3+64], %r50;\n", 1, SHARED)
    faults("shared access out of bounds", text, [out], 1)


def test_a_missing_barrier():
    x, out = np.arange(16, dtype=np.float32), np.zeros(16, np.float32)
    faults(r"shared-memory race \(read\).*ld.shared", neighbour(""), [x, out], 16)


def test_a_missing_second_barrier():
    again = neighbour("bar.sync 0;").replace("ret;", "st.shared.f32 [%r3], %f2;\nret;")
    x, out = np.arange(16, dtype=np.float32), np.zeros(16, np.float32)
    faults(r"shared-memory race \(write\).*st.shared", again, [x, out], 16)


def test_uninitialised_shared_memory():
    body = OWN_SHARED + "ld.shared.u32 %r4, [%r3];\n"
    faults("uninitialised", kernel(body, 1, SHARED), [np.zeros(1, np.int32)], 4)


def test_a_barrier_that_some_never_reach():
    body = "setp.eq.s32 %p1, %r50, 0;\n@%p1 ret;\nbar.sync 0;\n"
    faults("divergent barrier in block 0: 3 wait, 1 have left", kernel(body, 0), [], 4)


def test_two_different_barriers():
    body = "setp.eq.s32 %p1, %r50, 0;\n@%p1 bra $B;\nbar.sync 0;\nret;\n$B:\nbar.sync 0;\n"
    faults("different barriers", kernel(body, 0), [], 4)


def test_two_threads_store_to_one_word():
    body = "st.global.u32 [%rd50], %r50;\n"
    faults("without atomics", kernel(body, 1), [np.zeros(1, np.int32)], 2)
    faults("without atomics", kernel(body, 1), [np.zeros(1, np.int32)], 1, grid=2)


def test_arguments_that_overlap():
    x = np.zeros(8, np.float32)
    faults("overlap", kernel("", 2), [x[:6], x[2:]], 1)


def test_too_many_threads():
    faults("2048 threads", kernel("", 0), [], 2048)


@pytest.mark.parametrize(
    "instruction",
    ["shfl.sync.b32 %r1, %r1, 0, 1, 2;", "add.sat.s32 %r1, %r1, %r1;", "mul24.lo.s32 %r1, %r1, 2;",
     "bar.red.popc.u32 %r1, 0, %p1;", "cvt.rz.f32.f64 %f1, %fd1;", "add.cc.u32 %r1, %r1, %r1;",
     "bfe.u32 %r1, %r1, %r2, 4;"],
)  # fmt: skip
def test_what_is_not_known_is_refused(instruction):
    with pytest.raises(NotImplementedError, match=r"PTX: "):
        run(kernel(instruction, 0), [], 1)


def test_no_kernel():
    with pytest.raises(ValueError, match=r"no \.entry"):
        Program(".version 8.0")
