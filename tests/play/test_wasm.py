"""The kernels' module: its form, and that it is the same each time."""

import subprocess
import sys

from tinymaskrcnn.play.wasm import SIGNATURES, sections, wasm_module


def test_sections_stand_in_the_order_of_the_format():
    module = wasm_module()
    assert module[:8] == b"\0asm\1\0\0\0"
    kinds = [kind for kind, _ in sections(module)]
    assert kinds == sorted(set(kinds)) and {1, 2, 3, 7, 10} <= set(kinds)
    assert 0 not in kinds  # nothing for a linker


def test_every_kernel_is_exported_and_only_the_memory_is_imported():
    parts = dict(sections(wasm_module()))
    for name in SIGNATURES:
        assert bytes([len(name)]) + name.encode() + b"\0" in parts[7]
    assert parts[7][0] == len(SIGNATURES)
    assert parts[2][0] == 1 and b"__linear_memory" in parts[2]


def test_another_process_emits_the_same_bytes():
    code = (
        "import sys; from tinymaskrcnn.play.wasm import wasm_module;"
        "sys.stdout.buffer.write(wasm_module())"
    )
    again = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert again.stdout == wasm_module()


def test_it_is_small_and_holds_vector_instructions():
    code = dict(sections(wasm_module()))[10]
    assert len(code) < 8192
    assert code.count(b"\xfd\xe6\x01") >= 8  # f32x4.mul
