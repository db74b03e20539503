"""The golden list of a trace: no name, shape, dtype or value changes unseen."""

import json

import pytest

from .record_trace import FILE, summaries, traces


def test_a_trace_holds_the_recorded_names_forms_and_values():
    golden = json.loads(FILE.read_text(encoding="utf-8"))
    for when, t in traces().items():
        found = summaries(t)
        assert sorted(found) == sorted(golden[when]), when
        for name, (form, size) in golden[when].items():
            assert found[name][0] == form, f"{when}: {name}"
            assert found[name][1] == pytest.approx(size, rel=1e-3, abs=1e-6), f"{when}: {name}"
