"""Weight files of every kind, whole and damaged; record.py describes the recorded ones."""

import argparse
import json
import os
import pickle
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from tinymaskrcnn import InputError
from tinymaskrcnn.weights import WeightsError, load_weights, read_metadata, save_weights
from tinymaskrcnn.weights.torch_files import MAGIC

FILES = Path(__file__).parent / "files"
VALUES = dict(np.load(FILES / "values.npz"))


def rewrite_zip(source, target, change):
    """Copy a zip file record by record; `change(name, data)` returns the new data, or None."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = change(name, old.read(name))
            if data is not None:
                new.writestr(name, data)


# torch's files


@pytest.mark.parametrize("name", ["zip.pth", "stream.pth"])
def test_recorded_checkpoints_give_torchs_values(name):
    """Wrapped in "model", prefixed with "module.", beside an optimiser and a schedule."""
    state = load_weights(FILES / name)
    assert list(state) == list(VALUES)
    for key, expected in VALUES.items():
        assert state[key].dtype == expected.dtype, key
        assert state[key].flags.c_contiguous and state[key].flags.aligned, key
        np.testing.assert_array_equal(state[key], expected, err_msg=key)


def test_tensors_of_one_storage_share_memory():
    state = load_weights(FILES / "zip.pth")
    assert np.shares_memory(state["contiguous"], state["shared_row"])


def test_a_state_dict_of_a_module_with_its_metadata():
    state = load_weights(str(FILES / "linear.pt"))
    assert {key: array.shape for key, array in state.items()} == {"weight": (2, 3), "bias": (2,)}


def test_types_without_a_storage_class():
    np.testing.assert_array_equal(
        load_weights(FILES / "typed.pth")["w"], np.arange(5, dtype=np.uint16)
    )


def test_big_endian_files(tmp_path):
    def swap(name, data):
        if "/data/" in name:
            return np.frombuffer(data, ">f4").astype("<f4").tobytes()
        return b"big" if name.endswith("/byteorder") else data

    rewrite_zip(FILES / "linear.pt", tmp_path / "big.pt", swap)
    expected = load_weights(FILES / "linear.pt")
    for key, array in load_weights(tmp_path / "big.pt").items():
        np.testing.assert_array_equal(array, expected[key])


def test_without_a_byte_order_files_are_little_endian(tmp_path):
    rewrite_zip(
        FILES / "linear.pt", tmp_path / "a.pt", lambda n, d: None if "byteorder" in n else d
    )
    np.testing.assert_array_equal(
        load_weights(tmp_path / "a.pt")["bias"], load_weights(FILES / "linear.pt")["bias"]
    )


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_state_dict"])
def test_wrappers_are_opened(wrapper, tmp_path):
    """The recorded pickle has "model"; another key of any length replaces it."""

    def rename(name, data):
        old = b"X\x05\0\0\0model"
        new = b"X" + len(wrapper).to_bytes(4, "little") + wrapper.encode()
        return data.replace(old, new) if name.endswith("data.pkl") else data

    rewrite_zip(FILES / "zip.pth", tmp_path / "a.pth", rename)
    assert list(load_weights(tmp_path / "a.pth")) == list(VALUES)


# safetensors


def test_safetensors_are_read_back_with_metadata(tmp_path):
    metadata = {"classes": '["a"]', "config": "{}"}
    save_weights(tmp_path / "a.safetensors", VALUES, metadata)
    back = load_weights(tmp_path / "a.safetensors")
    assert back.keys() == VALUES.keys()
    for key, expected in VALUES.items():
        assert back[key].dtype == expected.dtype and back[key].shape == expected.shape, key
        np.testing.assert_array_equal(back[key], expected)
    assert read_metadata(tmp_path / "a.safetensors") == metadata


def test_the_library_reads_what_is_written_and_the_reverse(tmp_path):
    strided = np.arange(12.0, dtype=np.float32).reshape(3, 4).T
    save_weights(tmp_path / "a", {"w": strided})
    np.testing.assert_array_equal(load_file(tmp_path / "a")["w"], strided)
    save_file({"w": VALUES["float16"], "v": VALUES["empty"]}, tmp_path / "b", {"by": "library"})
    np.testing.assert_array_equal(load_weights(tmp_path / "b")["w"], VALUES["float16"])
    assert read_metadata(tmp_path / "b") == {"by": "library"}


def test_equal_contents_are_equal_bytes(tmp_path):
    state = {f"w{i}": np.full(i, i, np.float32) for i in range(9)}
    metadata = {str(i): "x" for i in range(9)}
    save_weights(tmp_path / "a", state, metadata)
    save_weights(
        tmp_path / "b", dict(reversed(state.items())), dict(reversed(list(metadata.items())))
    )
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.safetensors"
    save_weights(path, {"w": np.ones(3, np.float32)})
    before = path.read_bytes()
    with pytest.raises(WeightsError, match="cannot be written"):
        save_weights(path, {"w": np.array(["text"])})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.safetensors"]


def test_an_unwritable_place_is_one_error(tmp_path):
    with pytest.raises(WeightsError, match="missing/a"):
        save_weights(tmp_path / "missing" / "a", {"w": np.ones(3, np.float32)})


def test_bfloat16_in_safetensors(tmp_path):
    header = b'{"w":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}'
    path = tmp_path / "a"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\xc0\x3f\x00\xc0")
    state = load_weights(path)
    np.testing.assert_array_equal(state["w"], np.array([1.5, -2], np.float32))


@pytest.mark.parametrize("text", ["{", "[1]", '{"a": 1}', "[" * 100_000])
def test_metadata_of_another_form_is_refused(text, tmp_path):
    save_file({"w": np.ones(2, np.float32)}, tmp_path / "a", {"tinymaskrcnn": text})
    with pytest.raises(WeightsError, match="its metadata is not"):
        read_metadata(tmp_path / "a")


def test_torch_files_have_no_metadata():
    assert read_metadata(FILES / "zip.pth") == {}


# refusals and damage


def test_a_whole_module_is_refused_by_name():
    with pytest.raises(WeightsError, match=r"module\.pth.*torch\.nn\.modules\.linear\.Linear"):
        load_weights(FILES / "module.pth")


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_nothing_of_a_file_runs(tmp_path):
    mark = tmp_path / "ran"
    evil = pickle.dumps({"w": Evil(mark)}, 2)
    with zipfile.ZipFile(tmp_path / "zip.pth", "w") as archive:
        archive.writestr("a/data.pkl", evil)
    stream = [pickle.dumps(part, 2) for part in (MAGIC, 1001, {})]
    (tmp_path / "stream.pth").write_bytes(b"".join(stream) + evil)
    for name in ("zip.pth", "stream.pth"):
        with pytest.raises(WeightsError, match=name + r".*(posix|nt)\.mkdir"):
            load_weights(tmp_path / name)
    assert not mark.exists()


def foreign_files():
    def tar(path):
        with tarfile.open(path, "w") as archive:
            archive.add(FILES / "linear.pt", "storages")

    def torchscript(path):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("m/data.pkl", b"N.")
            archive.writestr("m/constants.pkl", b"N.")

    def zipped(path):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("readme.txt", b"")

    def compressed(path):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a/data.pkl", pickle.dumps({}))

    def written(data):
        return lambda path: path.write_bytes(data)

    return {
        "tar file": tar,
        "TorchScript": torchscript,
        "no single data.pkl": zipped,
        "compressed": compressed,
        "not a weight file": written(b"hello"),
        "it holds no tensors, but 'w'": written(pickle.dumps({"w": 1})),
        "unknown version": written(pickle.dumps(MAGIC, 2) + pickle.dumps(7, 2)),
        "the file is empty": written(b""),
        "expected one": written(b"PK"),
        "not a file": lambda path: path.mkdir(),
        "no such file": lambda path: None,
        "holds a list": lambda path: rewrite_zip(
            FILES / "linear.pt", path, lambda n, d: b"]." if n.endswith("data.pkl") else d
        ),
        "no tensors": lambda path: rewrite_zip(
            FILES / "linear.pt", path, lambda n, d: b"}." if n.endswith("data.pkl") else d
        ),
        "is missing": lambda path: rewrite_zip(
            FILES / "linear.pt", path, lambda n, d: None if n.endswith("data/1") else d
        ),
        "too short": lambda path: rewrite_zip(
            FILES / "linear.pt", path, lambda n, d: d[:-1] if n.endswith("data/1") else d
        ),
        "beyond its storage": lambda path: rewrite_zip(
            FILES / "linear.pt", path, lambda n, d: d.replace(b"K\x02K\x03\x86", b"K\x02K\x09\x86")
        ),
    }


@pytest.mark.parametrize("reason", foreign_files())
def test_foreign_files_are_one_error_that_names_file_and_reason(reason, tmp_path):
    path = tmp_path / "model.pth"
    foreign_files()[reason](path)
    with pytest.raises(InputError, match=f"model.pth: .*{reason}") as caught:
        load_weights(path)
    assert "\n" not in str(caught.value)


def test_a_small_file_cannot_claim_large_tensors(tmp_path):
    """A view with strides of zero repeats its elements without end."""

    def repeat(name, data):
        huge = b"J\xff\xff\xff\x7fK\x08\x86"
        return data.replace(b"K\x02K\x03\x86", huge).replace(b"K\x03K\x01\x86", b"K\x00K\x00\x86")

    rewrite_zip(FILES / "linear.pt", tmp_path / "a.pt", repeat)
    with pytest.raises(WeightsError, match="larger than the file"):
        load_weights(tmp_path / "a.pt")


def tensor(sizes, strides):
    """A tensor at the start of a storage of 8 floats, as text in the pickle."""
    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x08tQ"
    numbers = b"".join(
        b"(" + b"".join(b"L%dL\n" % number for number in some) + b"t" for some in (sizes, strides)
    )
    return b"ctorch._utils\n_rebuild_tensor\n(" + storage + b"K\x00" + numbers + b"tR"


def zipped_pickle(path, text):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02" + text + b".")
        archive.writestr("a/data/0", np.arange(8, dtype=np.float32).tobytes())


@pytest.mark.parametrize(
    ("sizes", "strides"),
    [((1, 4), (2**62, 1)), ((4, 1, 2), (2, 2**127, 1)), ((1,) * 64, (2**62,) * 64), ((), ())],
)
def test_strides_of_axes_of_size_1_mean_nothing(sizes, strides, tmp_path):
    zipped_pickle(tmp_path / "a.pth", b"}X\x01\0\0\0w" + tensor(sizes, strides) + b"s")
    expected = np.arange(np.prod(sizes), dtype=np.float32).reshape(sizes)
    np.testing.assert_array_equal(load_weights(tmp_path / "a.pth")["w"], expected)


@pytest.mark.parametrize("sizes", [(0, 2**62), (2**62, 0), (2**31, 2**31, 0), (1,) * 65])
def test_shapes_that_no_array_has(sizes, tmp_path):
    zipped_pickle(tmp_path / "a.pth", b"}X\x01\0\0\0w" + tensor(sizes, (1,) * len(sizes)) + b"s")
    ends = [0, 0 if 0 in sizes else 4]
    header = json.dumps({"w": {"dtype": "F32", "shape": sizes, "data_offsets": ends}}).encode()
    content = len(header).to_bytes(8, "little") + header + bytes(ends[1])
    (tmp_path / "a.safetensors").write_bytes(content)
    for name in ("a.pth", "a.safetensors"):
        with pytest.raises(WeightsError, match="too many axes or elements"):
            load_weights(tmp_path / name)


def test_a_huge_number_in_place_of_a_name(tmp_path):
    number = b"\x8b\xa0\x0f\0\0" + b"\x7f" * 4000
    zipped_pickle(tmp_path / "a.pth", b"}" + number + tensor((8,), (1,)) + b"s")
    with pytest.raises(WeightsError, match="an integer of over 128 bits"):
        load_weights(tmp_path / "a.pth")


def test_a_view_in_the_newer_format_is_refused(tmp_path):
    view = tensor((1,), (1,)).replace(b"K\x08tQ", b"K\x08(X\x01\0\0\0vK\x04K\x01ttQ")
    zipped_pickle(tmp_path / "a.pth", b"}X\x01\0\0\0w" + view + b"s")
    with pytest.raises(WeightsError, match="a view of a storage"):
        load_weights(tmp_path / "a.pth")


def test_a_checkpoint_of_torchvisions_training_script(tmp_path):
    """ "model" is read; the averaged weights, the optimiser's state and the settings are not."""
    settings = pickle.dumps(argparse.Namespace(lr=0.02, device="cuda"), 2)[2:-1]
    parts = {
        b"args": settings,
        b"model_ema": b"}X\x08\0\0\0module.w" + tensor((2,), (1,)) + b"s",
        b"model": b"}X\x01\0\0\0w" + tensor((8,), (1,)) + b"s",
        b"optimizer": b"}X\x05\0\0\0state}K\x00" + tensor((8,), (1,)) + b"ss",
    }
    items = (b"X%c\0\0\0%s%s" % (len(key), key, part) for key, part in parts.items())
    zipped_pickle(tmp_path / "model_25.pth", b"}(" + b"".join(items) + b"u")
    state = load_weights(tmp_path / "model_25.pth")
    assert list(state) == ["w"]
    np.testing.assert_array_equal(state["w"], np.arange(8))


def test_what_is_there_is_named_where_no_weights_are(tmp_path):
    zipped_pickle(tmp_path / "a.pth", b"}(X\x05\0\0\0epochK\x03X\x03\0\0\0net}u")
    with pytest.raises(WeightsError, match=r"no tensors, but 'epoch', 'net'; .*under state_dict"):
        load_weights(tmp_path / "a.pth")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in folders")
def test_pipes_and_devices_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path, reason in (
        (tmp_path / "pipe", "not a file"),
        ("/dev/zero", "not a file"),
        (tmp_path / "loop", "symbolic links"),
        (tmp_path / "a\0b", "no such file"),
    ):
        for read in (load_weights, read_metadata):
            with pytest.raises(WeightsError, match=reason):
                read(path)


SOURCES = {name: (FILES / name).read_bytes() for name in ("zip.pth", "stream.pth", "linear.pt")}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scratch")
    save_weights(folder / "source", VALUES, {"a": "b"})
    SOURCES["safetensors"] = (folder / "source").read_bytes()
    return folder / "damaged.pth"


def load_or_refuse(path, data):
    path.write_bytes(data)
    try:
        load_weights(path)
        read_metadata(path)
    except WeightsError as error:
        assert "damaged.pth" in str(error) and "\n" not in str(error)


@settings(deadline=None, max_examples=150)
@given(data=st.data(), kind=st.sampled_from([*SOURCES, "safetensors"]))
def test_truncated_files_are_one_error(data, kind, scratch):
    source = SOURCES[kind]
    scratch.write_bytes(source[: data.draw(st.integers(0, len(source) - 1))])
    with pytest.raises(WeightsError, match=r"damaged\.pth"):
        load_weights(scratch)


@settings(deadline=None, max_examples=300)
@given(data=st.data(), kind=st.sampled_from([*SOURCES, "safetensors"]))
def test_flipped_bits_give_arrays_or_the_one_error(data, kind, scratch):
    damaged = bytearray(SOURCES[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    load_or_refuse(scratch, bytes(damaged))


@settings(deadline=None, max_examples=100)
@given(data=st.binary(max_size=300), head=st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02"]))
def test_any_bytes_are_refused(data, head, scratch):
    load_or_refuse(scratch, head + data)


# memory


MEASURE = """
import sys
from tinymaskrcnn.weights import load_weights
import safetensors, safetensors.numpy
def peak():  # of this process alone; getrusage's value starts with the parent's
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
before = peak()
state = load_weights(sys.argv[1])
print(peak() - before, sum(a.nbytes for a in state.values()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kind", ["zip", "stream", "safetensors"])
def test_big_files_are_read_without_a_second_copy(kind, tmp_path):
    path = tmp_path / "big"
    write_big(path, kind, 96 * 2**20)
    out = subprocess.run(
        [sys.executable, "-c", MEASURE, path], capture_output=True, text=True, check=True
    )
    used, size = map(int, out.stdout.split())
    assert size >= 96 * 2**20
    assert 0.9 * size < used < 1.15 * size


def write_big(path, kind, size):
    values = np.ones(size // 4, np.float32)
    if kind == "safetensors":
        save_weights(path, {"w": values})
        return
    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu%stQ"
    count = b"J" + len(values).to_bytes(4, "little")
    tensor = b"ctorch._utils\n_rebuild_tensor\n(%sK\x00%s\x85K\x01\x85tR"
    extra = b"N" if kind == "stream" else b""
    saved = b"}X\x01\0\0\0w" + tensor % (storage % (count + extra), count) + b"s."
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/data.pkl", saved)
            archive.writestr("a/data/0", values.tobytes())
        return
    head = b"".join(pickle.dumps(part, 2) for part in (MAGIC, 1001, {}))
    keys = pickle.dumps(["0"], 2)
    path.write_bytes(head + saved + keys + len(values).to_bytes(8, "little") + values.tobytes())


def test_a_written_file_may_be_read_by_whom_the_folder_says(tmp_path):
    save_weights(tmp_path / "w.safetensors", {"a": np.zeros(2, np.float32)})
    (tmp_path / "plain").touch()
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1
