"""Non-maximum suppression: the GPU compares all pairs, the host decides.

Whether two boxes overlap too much depends on this pair alone. Whether a box is kept does not, since
a suppressed box suppresses no others. So the device makes a table of bits, 32 pairs per word, and
the host walks down it, reading one row per kept box. The host also sorts the few thousand scores.
"""

import numpy as np
from numba import int32

from ...gpu.array import empty, to_device, to_host
from ...gpu.launch import F2, I2, F, cuda, kernel
from ...gpu.scalars import divided
from ..box_iou.cuda import overlap

WORD = 32  # boxes per word, and threads per block
_SHIFT_LIMIT = 1000  # up to this many boxes torchvision separates classes by shifting them apart


def nms(boxes, scores, iou_threshold):
    """Indices of the boxes (N, 4) that are kept, int64 on the host, by falling score (N,)."""
    order = _by_falling_score(to_host(scores))
    sorted_boxes = to_device(to_host(boxes)[order])
    words = -(-len(order) // WORD)
    table = empty((len(order), words), np.int32)
    _suppressions[words, words](sorted_boxes, _below_or_equal(iou_threshold), table)
    return order[_kept(table.numpy().view(np.uint32), len(order))]


def batched_nms(boxes, scores, labels, iou_threshold):
    """Suppress boxes (N, 4) only within their own label (N,): indices by falling score, int64."""
    boxes, scores, labels = to_host(boxes), to_host(scores), to_host(labels)
    if len(boxes) == 0:
        return np.zeros(0, np.int64)
    if len(boxes) <= _SHIFT_LIMIT:
        shift = labels.astype(np.float32) * (boxes.max() + np.float32(1))
        return nms(boxes + shift[:, None], scores, iou_threshold)
    kept = np.zeros(len(boxes), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        kept[members[nms(boxes[members], scores[members], iou_threshold)]] = True
    indices = np.flatnonzero(kept)
    return indices[_by_falling_score(scores[indices])]


def _by_falling_score(scores):
    """Indices by falling score, equal scores in input order, NaN first."""
    falling = np.where(np.isnan(scores), -np.inf, -scores.astype(np.float64))
    return np.lexsort((falling, ~np.isnan(scores)))


def _below_or_equal(threshold):
    """The greatest float32 <= threshold: a float32 exceeds one exactly if it exceeds the other."""
    nearest = np.float32(threshold)
    return nearest if float(nearest) <= threshold else np.nextafter(nearest, np.float32(-1))


def _kept(table, count):
    """Greedy, from the best box down: each kept box strikes out all that it overlaps."""
    kept, struck = np.zeros(count, bool), np.zeros(table.shape[1], np.uint32)
    for i in range(count):
        if not struck[i // WORD] >> np.uint32(i % WORD) & np.uint32(1):
            kept[i] = True
            struck |= table[i]
    return kept


@kernel(F2, F, I2, threads=WORD, registers=64)
def _suppressions(boxes, threshold, table):
    """Bit k of table[i, word]: box 32 * word + k comes after i and overlaps it too much.

    Thread t of block (word, row) compares box i = 32 * row + t with the 32 boxes of the word.
    Blocks below the diagonal have nothing to compare and write zeros.
    """
    word, i = cuda.blockIdx.x, cuda.blockIdx.y * WORD + cuda.threadIdx.x
    if i < boxes.shape[0]:
        bits = int32(0)
        for k in range(max(i + 1 - word * WORD, 0), min(WORD, boxes.shape[0] - word * WORD)):
            intersection, union = overlap(boxes, i, boxes, word * WORD + k)
            if divided(intersection, union) > threshold:
                bits = int32(bits | int32(int32(1) << int32(k)))
        table[i, word] = bits
