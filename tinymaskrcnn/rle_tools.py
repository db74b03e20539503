"""`pycocotools.mask`, or, where that is not installed, the same in NumPy."""

try:
    from pycocotools.mask import area, decode, encode, frPyObjects, iou, merge, toBbox
except ModuleNotFoundError:
    from .plain_rle import area, decode, encode, frPyObjects, iou, merge, toBbox

__all__ = ["area", "decode", "encode", "frPyObjects", "iou", "merge", "toBbox"]
