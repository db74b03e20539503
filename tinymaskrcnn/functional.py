"""The operations as functions, for users to call. Feature maps are channels-last, (N, H, W, C);
parameters have PyTorch's shapes.

The documentation and derivative of each function are in ops/<name>/op.py.
"""

from .ops.activations.op import relu, sigmoid, softmax
from .ops.basic.op import (
    add,
    concat,
    divide,
    exp,
    index,
    log,
    matmul,
    max,
    mean,
    multiply,
    power,
    put_rows,
    reshape,
    subtract,
    sum,
    transpose,
)
from .ops.batch_norm.op import batch_norm, frozen_batch_norm
from .ops.box_iou.op import box_iou
from .ops.conv2d.op import conv2d, conv2d_fused
from .ops.conv_transpose2d.op import conv_transpose2d, conv_transpose2d_fused
from .ops.group_norm.op import group_norm
from .ops.interpolate.op import interpolate, upsample_add
from .ops.linear.op import linear, linear_fused
from .ops.losses.op import binary_cross_entropy_with_logits, cross_entropy, smooth_l1
from .ops.max_pool2d.op import max_pool2d
from .ops.nms.op import batched_nms, nms
from .ops.paste_masks.op import paste_masks, paste_masks_binary
from .ops.roi_align.op import roi_align
from .ops.roi_pool.op import roi_pool
