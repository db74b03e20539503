"""Small handwritten PTX kernels for tests of the interpreter: thread i has x[i], y[i] and z[i] in
registers and stores its result in out[i].
"""

import numpy as np

from .interpreter import Program, launch

KINDS = {  # each type's register class and name prefix
    "pred": ("pred", "%p"),
    **dict.fromkeys(("u16", "s16", "b16"), ("b16", "%rs")),
    **dict.fromkeys(("u32", "s32", "b32"), ("b32", "%r")),
    **dict.fromkeys(("u64", "s64", "b64"), ("b64", "%rd")),
    "f32": ("f32", "%f"),
    "f64": ("f64", "%fd"),
}
DTYPES = {
    "u16": np.uint16, "s16": np.int16, "b16": np.uint16, "u32": np.uint32, "s32": np.int32,
    "b32": np.uint32, "u64": np.uint64, "s64": np.int64, "b64": np.uint64,
    "f32": np.float32, "f64": np.float64,
}  # fmt: skip
PER_ARRAY = 7  # parameters with which Numba passes a 1-d array; the fifth is the address


def kernel(body, arrays, declarations=""):
    """A kernel's text: %rd50, %rd51, ... hold its arrays' addresses, %r50 the thread's number."""
    count = arrays * PER_ARRAY
    parameters = ",\n".join(f".param .u64 p{i}" for i in range(count))
    addresses = "\n".join(
        f"ld.param.u64 %rd{50 + i}, [p{i * PER_ARRAY + 4}];" for i in range(arrays)
    )
    registers = "\n".join(f".reg .{k} {p}<99>;" for k, p in sorted(set(KINDS.values())))
    return (
        f".version 8.0\n.target sm_80\n.address_size 64\n{declarations}\n.visible .entry k(\n"
        f"{parameters}\n)\n{{\n{registers}\n{addresses}\nmov.u32 %r50, %tid.x;\n{body}\nret;\n}}\n"
    )


def element(array, size):
    """Instructions that put the address of the thread's own element into %rd60 + array."""
    place = f"%rd{60 + array}"
    return f"mul.wide.u32 {place}, %r50, {size};\nadd.s64 {place}, %rd{50 + array}, {place};\n"


def apply(instruction, kinds, result, *values):
    """Run an instruction on every thread: $0 is the result, $1, $2, ... are the values."""
    arrays = [np.array(v, DTYPES[k]) for v, k in zip(values, kinds, strict=True)]
    out = np.zeros(len(arrays[0]), DTYPES[result])
    body, names = "", [f"{KINDS[result][1]}1"]
    for i, (array, kind) in enumerate(zip(arrays, kinds, strict=True)):
        names.append(f"{KINDS[kind][1]}{i + 2}")
        body += element(i, array.itemsize) + f"ld.global.{kind} {names[-1]}, [%rd{60 + i}];\n"
    for i, name in reversed(list(enumerate(names))):
        instruction = instruction.replace(f"${i}", name)
    body += f"{instruction}\n" + element(len(arrays), out.itemsize)
    body += f"st.global.{result} [%rd{60 + len(arrays)}], {names[0]};"
    run(kernel(body, len(arrays) + 1), [*arrays, out], len(out))
    return out


def run(text, arrays, threads, grid=1, **settings):
    launch(Program(text), (grid,), (threads,), arrays, **settings)
