"""The table of more cores, on loops that are made up."""

import pytest

from tests.benchmarks import cores
from tests.benchmarks.cores import Loop


@pytest.mark.parametrize(
    "counts, items, expected",
    [([3, 3, 2, 2], None, (3, 2.5)), ([1, 1, 1, 1], 10, (3, 2.5)), ([1, 1, 0, 0], None, (1, 0.5))],
)
def test_shares(counts, items, expected):
    assert cores.shares(counts, items) == expected


def test_the_table_adds_up():
    """Of 10 s, 2 are serial, 6 are cut evenly and 2 not at all."""

    def measure(case, threads):
        loops = [Loop("even", 8 / threads, 8 / threads, 6.0)]
        loops += [Loop("whole", 1.0, 1 / threads, 1.0)] * 2
        return {"seconds": 10.0, "loops": loops}

    rows = [row.split("|")[1:-1] for row in cores.table("tiny", measure)]
    cells = {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows[2:]}
    assert cells["`even`"] == ["60.0%", "1", "1.00", "1.00", "1.00"]
    assert cells["`whole`"] == ["20.0%", "2", "4.00", "8.00", "16.00"]
    assert cells["serial: Python, NumPy, small kernels"][0] == "20.0%"
    assert cells["times as fast by Amdahl's law"][2:] == ["2.5", "3.3", "4.0"]
    assert cells["with these pieces and barriers"][2:] == ["1.8", "2.1", "2.3"]
