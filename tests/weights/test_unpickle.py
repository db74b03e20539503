"""The unpickler: what it builds, what it refuses, and that nothing in a file ever runs."""

import argparse
import contextlib
import io
import os
import pickle
import pickletools
import struct
from collections import OrderedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinymaskrcnn.weights import WeightsError
from tinymaskrcnn.weights.tensors import Storage, StoredTensor
from tinymaskrcnn.weights.unpickle import unpickle

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**127), 2**127)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=4)
        | st.tuples(inner, inner)
    ),
    max_leaves=20,
)
OPCODES = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]
FLOAT_STORAGE = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x06tQ"


class Calls:
    """Pickles as a call of any function."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


# by hand


def test_a_tensor_becomes_its_description():
    tensor = (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + FLOAT_STORAGE + b"K\x01K\x02\x85K\x03\x85\x89"
    )
    assert unpickle(b"\x80\x02" + tensor + b"NtR.") == StoredTensor(
        Storage("0", "float32", 0, 6), 1, (2,), (3,)
    )


def test_a_view_of_a_storage_as_the_oldest_files_have_it():
    view = FLOAT_STORAGE.removesuffix(b"tQ") + b"(X\x01\0\0\x001K\x02K\x03ttQ"
    assert unpickle(view + b".") == Storage("0", "float32", 2, 3)


def test_storages_are_listed_by_key():
    storages = {}
    unpickle(FLOAT_STORAGE + b".", storages)
    assert storages == {"0": Storage("0", "float32", 0, 6)}


def test_the_stream_is_left_behind_the_pickle():
    stream = io.BytesIO(pickle.dumps([1], 2) + b"rest")
    assert unpickle(stream) == [1]
    assert stream.read() == b"rest"


def test_ordered_dicts_of_python_2_are_lists_of_pairs():
    assert unpickle(b"ccollections\nOrderedDict\n((lp0\n(lp1\nS'a'\naI1\naatR.") == {"a": 1}


# laws


@settings(deadline=None, max_examples=100)
@given(PLAIN, st.integers(0, 5))
def test_plain_values_are_read_back(value, protocol):
    assert unpickle(pickle.dumps(value, protocol)) == value


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_the_one_error(data):
    with contextlib.suppress(WeightsError):
        unpickle(data)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.sampled_from(OPCODES) | st.binary(max_size=3), max_size=30))
def test_any_instructions_give_a_value_or_the_one_error(parts):
    with contextlib.suppress(WeightsError):
        unpickle(FLOAT_STORAGE + b"ctorch._utils\n_rebuild_tensor\n" + b"".join(parts) + b".")


# refusals


@pytest.mark.parametrize("protocol", range(6))
def test_a_call_is_refused_by_name_and_not_made(protocol, tmp_path):
    mark = tmp_path / "ran"
    with pytest.raises(WeightsError, match=r"posix\.system|nt\.system"):
        unpickle(pickle.dumps(Calls(os.system, f"touch {mark}"), protocol))
    assert not mark.exists()


@pytest.mark.parametrize(
    "function", [eval, exec, __import__, getattr, print, open, OrderedDict.fromkeys, struct.unpack]
)
def test_builtins_are_refused(function):
    with pytest.raises(WeightsError, match=r"refused|damaged"):
        unpickle(pickle.dumps(Calls(function, "1")))


@pytest.mark.parametrize(
    "text", [b"cos\nsystem\n.", b"X\x02\0\0\0osX\x06\0\0\0system\x93.", b"(ios\nsystem\n."]
)
def test_every_way_to_name_a_function_is_refused(text):
    with pytest.raises(WeightsError, match="refused"):
        unpickle(text)


def test_state_is_not_set_on_what_is_allowed():
    for function in (b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nFloatStorage\n"):
        with pytest.raises(WeightsError, match="misplaced"):
            unpickle(function + b"}X\x08\0\0\0__code__K\x01sb.")
    assert unpickle(b"ccollections\nOrderedDict\n)R}X\x05\0\0\0itemsK\x01sb.") == {}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_the_settings_of_a_training_script_are_read_as_nothing(protocol):
    settings = argparse.Namespace(lr=0.02, data_path="coco", lr_steps=[16, 22])
    assert unpickle(pickle.dumps({"args": settings, "epoch": 3}, protocol)) == {
        "args": {},
        "epoch": 3,
    }


def test_settings_cannot_be_called():
    with pytest.raises(WeightsError, match="not a function"):
        unpickle(b"cargparse\nNamespace\n)R.")


def test_an_object_made_without_a_call_is_refused():
    with pytest.raises(WeightsError, match="NEWOBJ"):
        unpickle(b"\x80\x02ccollections\nOrderedDict\n)\x81.")


# bombs


def test_keys_that_take_for_ever_to_hash_are_refused():
    doubled = b"".join(b"q%c0h%ch%c\x86" % (i, i, i) for i in range(1, 60))
    with pytest.raises(WeightsError, match="key of type tuple"):
        unpickle(b"})" + doubled + b"K\x01s.")


def test_deep_nesting_is_no_recursion():
    assert isinstance(unpickle(b")" + b"\x85" * 100_000 + b"."), tuple)


def test_huge_lengths_and_memo_numbers_take_no_memory():
    for text in (b"B\xff\xff\xff\x7f", b"\x8e" + b"\xff" * 7 + b"\x7f", b"\x8b\xff\xff\xff\x7f"):
        with pytest.raises(WeightsError, match="damaged"):
            unpickle(text)
    assert unpickle(b"Nr\xff\xff\xff\xff.") is None


def test_copying_one_list_again_and_again_is_bounded():
    long_list = b"](" + b"]" * 50_000 + b"eq\x01"
    with pytest.raises(WeightsError, match="steps"):
        unpickle(long_list + b"cbuiltins\nset\nh\x01\x85R" * 1000 + b".")


@pytest.mark.parametrize(
    "integer",
    [
        b"\x8b\x40\x42\x0f\x00" + b"\x7f" * 1_000_000,
        b"\x8a\x12" + b"\x7f" * 18,
        b"L" + b"9" * 40 + b"L\n",
        b"I" + b"9" * 4300 + b"\n",
        b"I-" + b"9" * 5000 + b"\n",
    ],
)
def test_integers_that_take_long_to_hash_or_print_are_refused(integer):
    with pytest.raises(WeightsError, match=r"refused|damaged"):
        unpickle(b"}" + integer + b"Ns.")


def test_a_call_with_very_many_arguments_is_work():
    call = b"ctorch._utils\n_rebuild_tensor\n(" + FLOAT_STORAGE + b"K\x00)" + b")" * 50_000 + b"t"
    with pytest.raises(WeightsError, match="steps"):
        unpickle(call + b"q\x01R0" + b"ctorch._utils\n_rebuild_tensor\nh\x01R0" * 20 + b"N.")


def test_endless_pickles_are_cut_off():
    with pytest.raises(WeightsError, match="steps"):
        unpickle(b"N" * 600_000 + b".")
