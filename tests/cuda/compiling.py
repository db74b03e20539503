"""Compile the project's kernels to PTX and to machine code, without a GPU and without a driver.

NVVM makes the PTX, nvJitLink assembles it; both come with the extra `cuda`.
"""

import re
from functools import cache
from types import SimpleNamespace

CAPABILITIES = ((7, 5), (8, 0), (9, 0))


@cache
def ptx_of(kernel, capability=(8, 0)):
    """A kernel's PTX, for the only signature that it declares.

    To call a device function, numba-cuda asks the current GPU for its compute capability, which
    needs a driver. Here that single question is answered without one.
    """
    import numba.cuda.dispatcher as dispatcher
    from numba import cuda

    real = dispatcher.get_current_device
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=capability)
    try:
        ptx, _ = cuda.compile_ptx(kernel.function, kernel.types, cc=capability)
    finally:
        dispatcher.get_current_device = real
    return ptx


def assemble(ptx, capability):
    """The machine code, and the assembler's log."""
    from cuda.core import Linker, LinkerOptions, ObjectCode

    options = LinkerOptions(arch="sm_{}{}".format(*capability), verbose=True)
    linker = Linker(ObjectCode.from_ptx(ptx.encode()), options=options)
    return len(linker.link("cubin").code), linker.get_info_log()


def measure(kernel, capability):
    """How much of each resource a kernel needs, by the resource's name."""
    ptx = ptx_of(kernel, capability)
    size, log = assemble(ptx, capability)
    number = lambda pattern: int(found[1]) if (found := re.search(pattern, log)) else 0  # noqa: E731
    return {
        "registers": number(r"Used (\d+) registers"),
        "shared bytes": number(r"(\d+) bytes smem"),
        "stack bytes": number(r"(\d+) bytes stack frame"),
        "spilled bytes": number(r"(\d+) bytes spill stores"),
        "float64": len(re.findall(r"\.f64\b", ptx)),
        "64-bit divisions": len(re.findall(r"\b(?:div|rem)\.[su]64", ptx)),
        "code bytes": size,
    }


def problems(kernel, figures):
    """Sentences about what exceeds a limit of the card or the kernel's own budget."""
    threads = 1
    for count in kernel.threads:
        threads *= count
    over = {
        f"a block of {threads} threads": threads > 1024,
        "one block's registers do not fit": figures["registers"] * threads > 65536,
        f"{figures['registers']} registers, budget {kernel.registers}": figures["registers"]
        > kernel.registers,
        f"{figures['shared bytes']} bytes of shared memory": figures["shared bytes"] > 48 * 1024,
        "spills or a stack": figures["spilled bytes"] + figures["stack bytes"] > 0,
        f"{figures['float64']} float64 instructions": figures["float64"] > 0,
    }
    return [what for what, wrong in over.items() if wrong]
