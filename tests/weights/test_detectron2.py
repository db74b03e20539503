"""Pickles of NumPy arrays, and detectron2's names: every spelling is read, nothing is run."""

import pickle
import pickletools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from tinymaskrcnn.errors import WeightsError
from tinymaskrcnn.weights import backbone_state, load_weights, save_weights
from tinymaskrcnn.weights.detectron2 import from_detectron2, to_detectron2

STATE = {
    "backbone.bottom_up.stem.conv1.weight": np.arange(2 * 3 * 2, dtype=np.float32).reshape(
        2, 3, 2, 1
    ),
    "roi_heads.box_predictor.cls_score.bias": np.float32([1, 2, 9]),
    "roi_heads.box_predictor.bbox_pred.bias": np.arange(8, dtype=np.float32),
    "roi_heads.mask_head.predictor.bias": np.float32([5, 6]),
}
# what Python 2 and NumPy 1 write: bytes are text, and 0 and 1 stand for False and True
PYTHON_2 = (
    b"\x80\x02}q\x00U\x05blobs}U\x07conv1_wcnumpy.core.multiarray\n_reconstruct\n"
    b"cnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R"
    b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x08\x00\x00\x80?\x00\x00\x80\xbftbss."
)


def written(path, saved, protocol=4, old=False):
    data = pickle.dumps(saved, protocol)
    if old:  # NumPy 1 calls its module so
        assert b"numpy._core" in data or b"numpy.core" in data
        data = renamed(data)
    path.write_bytes(data)
    return path


def renamed(data):
    """A pickle with NumPy 1's module names, lengths of strings included."""
    parts, last = [], 0
    for opcode, argument, place in pickletools.genops(data):
        if opcode.name == "GLOBAL" and argument.startswith("numpy._core"):
            end = place + 1 + len(argument) + 1
            parts += [
                data[last:place],
                b"c" + argument.replace("_core", "core").replace(" ", "\n").encode() + b"\n",
            ]
            last = end
        elif opcode.name == "SHORT_BINUNICODE" and argument.startswith("numpy._core"):
            text = argument.replace("_core", "core").encode()
            parts += [data[last:place], b"\x8c" + bytes([len(text)]) + text]
            last = place + 2 + len(argument)
    parts.append(data[last:])
    whole = b"".join(parts)
    # a frame's length no longer fits: without frames it is the same pickle
    kept, last = [], 0
    for opcode, _, place in pickletools.genops(data):
        if opcode.name == "FRAME":
            kept.append(place)
    for place in kept[:1]:
        whole = whole[:place] + whole[place + 9 :]
    assert len(kept) <= 1
    return whole


# Reading


@pytest.mark.parametrize("old", [False, True], ids=["numpy 2", "numpy 1"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_and_spelling_is_read(tmp_path, protocol, old):
    saved = {"model": STATE, "__author__": "test", "matching_heuristics": True}
    state = load_weights(written(tmp_path / "a.pkl", saved, protocol, old))
    assert list(state) == list(STATE)
    for name, array in STATE.items():
        assert state[name].dtype == array.dtype
        np.testing.assert_array_equal(state[name], array)


def test_a_file_of_python_2_is_read(tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(PYTHON_2)
    assert pickle.loads(PYTHON_2, encoding="latin1")["blobs"]["conv1_w"].tolist() == [1, -1]
    assert load_weights(path)["conv1_w"].tolist() == [1, -1]


@settings(deadline=None, max_examples=60)
@given(
    arrays_of.arrays(
        st.sampled_from(["f2", "<f4", ">f4", "f8", "i8", "u1", "?"]),
        arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    ),
    st.sampled_from([2, 4, 5]),
    st.booleans(),
)
def test_any_array_is_read_back(tmp_path_factory, array, protocol, transposed):
    array = np.asfortranarray(array) if transposed else array
    if protocol == 2 and array.size == 0:
        return  # Python 3 writes its empty bytes as a call of bytes
    path = tmp_path_factory.getbasetemp() / "any.pkl"
    state = load_weights(written(path, {"model": {"w": array}}, protocol))
    np.testing.assert_array_equal(state["w"], array)
    assert state["w"].dtype == array.dtype.newbyteorder("=")


@pytest.mark.parametrize(
    "kind", [np.array(["a"], object), np.array(["text"]), np.zeros(1, [("x", "f4")])]
)
def test_arrays_of_other_things_are_refused(tmp_path, kind):
    with pytest.raises(WeightsError, match=r"a\.pkl: .*(refused|expected numbers|damaged)"):
        load_weights(written(tmp_path / "a.pkl", {"model": {"w": kind, "x": np.ones(1)}}))


def test_an_array_with_too_few_bytes_is_damaged(tmp_path):
    data = pickle.dumps({"model": {"w": np.zeros(3, "u1")}}, 2)
    place = data.index(b"K\x03\x85")  # its shape
    path = tmp_path / "a.pkl"
    path.write_bytes(data[: place + 1] + b"\x04" + data[place + 2 :])
    with pytest.raises(WeightsError, match="too few bytes, or too many"):
        load_weights(path)


def test_a_call_beside_the_arrays_is_refused(tmp_path):
    class Calls:
        def __reduce__(self):
            return print, ("ran",)

    with pytest.raises(WeightsError, match=r"builtins\.print.*refused"):
        load_weights(written(tmp_path / "a.pkl", {"model": STATE, "hook": Calls()}))


# Names and layouts


def test_colours_and_background_change_places():
    ours = from_detectron2(STATE)
    np.testing.assert_array_equal(
        ours["backbone.body.conv1.weight"], STATE["backbone.bottom_up.stem.conv1.weight"][:, ::-1]
    )
    assert ours["roi_heads.box_predictor.cls_score.bias"].tolist() == [9, 1, 2]
    assert ours["roi_heads.box_predictor.bbox_pred.bias"].tolist() == [0, 0, 0, 0, *range(8)]
    assert ours["roi_heads.mask_predictor.mask_fcn_logits.bias"].tolist() == [0, 5, 6]
    back = to_detectron2(ours)
    assert list(back) == list(STATE)
    assert all(np.array_equal(back[name], STATE[name]) for name in STATE)


def test_caffe2s_names_have_the_background_first_and_no_statistics():
    blobs = {
        "conv1_w": np.ones((2, 3, 1, 1), np.float32),
        "res_conv1_bn_s": np.float32([3, 4]),
        "res_conv1_bn_b": np.float32([5, 6]),
        "res2_0_branch2a_w": np.ones((2, 2, 1, 1), np.float32),
        "res2_0_branch1_bn_s": np.float32([7]),
        "fpn_inner_res5_2_sum_w": np.ones((2, 2, 1, 1), np.float32),
        "fpn_inner_res4_5_sum_lateral_b": np.float32([1]),
        "fpn_res3_3_sum_w": np.ones((2, 2, 3, 3), np.float32),
        "conv_rpn_fpn2_w": np.ones((2, 2, 3, 3), np.float32),
        "rpn_cls_logits_fpn2_b": np.float32([1]),
        "rpn_bbox_pred_fpn2_b": np.float32([1]),
        "fc6_b": np.float32([1]),
        "fc7_b": np.float32([2]),
        "cls_score_b": np.float32([9, 1, 2]),
        "bbox_pred_b": np.arange(12, dtype=np.float32),
        "_[mask]_fcn1_b": np.float32([1]),
        "conv5_mask_b": np.float32([1]),
        "mask_fcn_logits_b": np.float32([8, 5, 6]),
        "fc6_b_momentum": np.float32([0]),
    }
    ours = from_detectron2(blobs)
    assert ours["roi_heads.box_predictor.cls_score.bias"].tolist() == [9, 1, 2]
    assert ours["roi_heads.box_predictor.bbox_pred.bias"].tolist() == [0] * 4 + list(range(4, 12))
    assert ours["roi_heads.mask_predictor.mask_fcn_logits.bias"].tolist() == [0, 5, 6]
    assert ours["backbone.body.bn1.weight"].tolist() == [3, 4]
    assert ours["backbone.body.bn1.running_mean"].tolist() == [0, 0]
    assert ours["backbone.body.bn1.running_var"] + np.float32(1e-5) == pytest.approx([1, 1])
    assert set(ours) >= {
        "backbone.body.layer1.0.conv1.weight",
        "backbone.body.layer1.0.downsample.1.weight",
        "backbone.fpn.inner_blocks.3.0.weight",
        "backbone.fpn.inner_blocks.2.0.bias",
        "backbone.fpn.layer_blocks.1.0.weight",
        "rpn.head.conv.0.0.weight",
        "rpn.head.cls_logits.bias",
        "rpn.head.bbox_pred.bias",
        "roi_heads.box_head.fc6.bias",
        "roi_heads.box_head.fc7.bias",
        "roi_heads.mask_head.0.0.bias",
        "roi_heads.mask_predictor.conv5_mask.bias",
    }


def test_an_imagenet_backbone_of_caffe2(tmp_path):
    blobs = {"conv1_w": np.ones((2, 3, 1, 1), np.float32), "fc1000_w": np.ones((2, 2), np.float32)}
    state = load_weights(written(tmp_path / "R-50.pkl", blobs, 2))
    assert list(backbone_state(state, "resnet")) == ["conv1.weight"]


def test_names_may_lack_their_modules_but_not_be_there_twice():
    short = {"stem.conv1.weight": STATE["backbone.bottom_up.stem.conv1.weight"]}
    assert list(from_detectron2(short)) == ["backbone.body.conv1.weight"]
    with pytest.raises(WeightsError, match="twice"):
        from_detectron2(STATE | short)


# Writing


def test_detectron2_has_no_place_for_other_backbones(tmp_path):
    with pytest.raises(WeightsError, match=r"a\.pkl: .*no place for backbone\.body\.features"):
        save_weights(
            tmp_path / "a.pkl",
            {"backbone.body.features.0.weight": np.ones(1)},
            dialect="detectron2",
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name, settings, reason",
    [
        ("a.pth", {"dialect": "detectron2"}, "ends in .pkl"),
        (
            "a.pkl",
            {"dialect": "detectron2", "metadata": {"classes": "[]"}},
            "no metadata, got classes",
        ),
        (
            "a.pkl",
            {"dialect": "mmdet"},
            "no dialect 'mmdet': expected one of torchvision, detectron2",
        ),
    ],
)
def test_how_not_to_save(tmp_path, name, settings, reason):
    with pytest.raises(WeightsError, match=reason):
        save_weights(tmp_path / name, from_detectron2(STATE), **settings)


def test_equal_weights_are_equal_files_that_name_no_module_of_numpy_2(tmp_path):
    for name in ("a.pkl", "b.pkl"):
        save_weights(tmp_path / name, from_detectron2(STATE), dialect="detectron2")
    data = (tmp_path / "a.pkl").read_bytes()
    assert data == (tmp_path / "b.pkl").read_bytes()
    assert b"_core" not in data
    assert pickle.loads(data)["model"].keys() == STATE.keys()
