"""Parse the text of a PTX kernel: parameters, memory, registers, instructions, labels."""

import re

import numpy as np

# The NumPy dtype for each type of value.
DTYPES = {
    "pred": "?",
    **dict.fromkeys(("u8", "b8"), "u1"),
    **dict.fromkeys(("u16", "b16"), "u2"),
    **dict.fromkeys(("u32", "b32"), "u4"),
    **dict.fromkeys(("u64", "b64"), "u8"),
    "s8": "i1",
    "s16": "i2",
    "s32": "i4",
    "s64": "i8",
    "f16": "f2",
    "f32": "f4",
    "f64": "f8",
}
DTYPES = {name: np.dtype(code) for name, code in DTYPES.items()}

_ENTRY = re.compile(r"\.entry\s+(\w+)\s*\((.*?)\)(.*?)\{(.*)\n\}", re.S)
_PARAMETER = re.compile(r"\.param\s+\.(\w+)(?:\s+\.ptr[^,]*?)?\s+(\w+)\s*(?:,|$)")
_SHARED = re.compile(r"(\.extern )?\.shared\s+\.align\s+(\d+)\s+\.b8\s+(\w+)\[(\d*)\]")
_LOCAL = re.compile(r"\.local\s+\.align\s+\d+\s+\.b8\s+(\w+)\[(\d+)\]")
_DATA = re.compile(r"\.(?:const|global)\s+\.align\s+\d+\s+\.b8\s+(\w+)\[\d+\]\s*=\s*\{([^}]*)\}")
_REGISTERS = re.compile(r"\.reg\s+\.(\w+)\s+(%\w+?)(?:<(\d+)>)?;")
_DECLARATION = re.compile(r"^\s*\.(?:loc[^\n]*\n|\w+[^;]*;)", re.M)
_STATEMENT = re.compile(r"\$\w+:|[^;{}\n][^;]*;")
_ENDS_BLOCK = re.compile(r"\b(bra|ret|exit|bar|barrier)\b")


class Program:
    """One kernel.

    Attributes:
        parameters: (type, name) of each.
        registers: NumPy dtypes by name.
        shared: each shared array's byte offset.
        shared_bytes: the size of all shared arrays.
        local: name and size in bytes.
        data: constant arrays by name.
        code: the instructions.
        labels: their places in the code.
        starts: where basic blocks begin, ascending.
    """

    def __init__(self, ptx: str) -> None:
        text = re.sub(r"//[^\n]*", "", ptx)
        found = _ENTRY.search(text)
        if found is None:
            raise ValueError("no .entry in this PTX")
        self.name, head, _, body = found.groups()
        self.parameters = _PARAMETER.findall(head)
        self.shared, self.shared_bytes = _shared(text)
        local = _LOCAL.search(body)
        self.local = (local[1], int(local[2])) if local else ("", 0)
        self.data = {
            name: np.array([int(v) for v in values.split(",")], np.uint8)
            for name, values in _DATA.findall(text)
        }
        self.registers = _registers(body)
        self.code, self.labels = _code(body)
        self.starts = _starts(self.code, self.labels)


def _shared(text):
    """The offsets of the shared arrays; the dynamic one comes last."""
    offsets, size, dynamic = {}, 0, []
    for _, align, name, length in _SHARED.findall(text):
        if not length:
            dynamic.append(name)
            continue
        size = -(-size // int(align)) * int(align)
        offsets[name] = size
        size += int(length)
    size = -(-size // 16) * 16
    return offsets | dict.fromkeys(dynamic, size), size


def _registers(body):
    """Each register's dtype for raw bits: unsigned of its width, or bool."""
    registers = {}
    for kind, name, count in _REGISTERS.findall(body):
        bits = DTYPES[kind].itemsize * 8
        dtype = np.dtype(bool) if kind == "pred" else np.dtype(f"u{bits // 8}")
        names = [f"{name}{i}" for i in range(int(count))] if count else [name]
        registers |= dict.fromkeys(names, dtype)
    return registers


def _code(body):
    code, labels = [], {}
    body = _DECLARATION.sub("\n", body)
    for statement in _STATEMENT.findall(body.replace("\t", " ")):
        statement = statement.strip().lstrip("{").strip()
        while label := re.match(r"(\$\w+):\s*", statement):
            labels[label[1]] = len(code)
            statement = statement[label.end() :]
        statement = " ".join(statement.rstrip(";").split())
        if statement:
            code.append(statement)
    return code, labels


def _starts(code, labels):
    starts = {0, *labels.values()}
    for i, line in enumerate(code):
        if _ENDS_BLOCK.search(line.split("[")[0].replace(".", " ")):
            starts.add(i + 1)
    return sorted(start for start in starts if start < len(code))
