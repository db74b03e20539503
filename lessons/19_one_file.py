# %% [markdown]
# # 19 · The whole in one file
#
# **Everything that you have built, in one place: Mask R-CNN, its training and its measure, in 600
# lines of NumPy. Nothing is imported from the package.**
#
# `python 19_one_file.py` detects with the course's weights, `overfit` learns four images by heart,
# `train` starts from random weights: AP50 0.80 in 15 minutes. Maps are (N, H, W, C): images,
# rows, columns, channels. R regions; K classes, 0 is background. Boxes are x1, y1, x2, y2.

# %%
import argparse
import json
import zlib
from pathlib import Path
from time import perf_counter

import numpy as np


# %% [markdown]
# ## 1. Gradients
# The engine of [lesson 01](01_gradients.py), for arrays. Each operation gives a Tensor with a rule:
# from the gradient of the result, a gradient for each input.
# %%
class Tensor:
    """An array that remembers what it was computed from."""

    def __init__(self, data, parents=(), rule=None):
        self.data, self.grad, self.parents, self.rule = data, None, parents, rule

    def __add__(self, other):
        """Of the same shape, or a bias (C,), which every pixel uses: their gradients add up."""
        axes = tuple(range(self.data.ndim - other.data.ndim))
        total = self.data + other.data
        return Tensor(total, (self, other), lambda grad: (grad, grad.sum(axis=axes)))

    def __getitem__(self, index):
        def rule(grad):
            whole = np.zeros_like(self.data)
            whole[index] = grad  # so no element may be chosen twice
            return (whole,)

        return Tensor(self.data[index], (self,), rule)

    def reshape(self, *shape):
        old = self.data.shape
        return Tensor(self.data.reshape(shape), (self,), lambda grad: (grad.reshape(old),))

    def transpose(self, *axes):
        back = np.argsort(axes)
        return Tensor(self.data.transpose(axes), (self,), lambda grad: (grad.transpose(back),))

    def backward(self):
        """For every x that self was computed from, leave the gradient of self in x.grad."""
        order, seen = [], set()

        def visit(tensor):
            if tensor not in seen:
                seen.add(tensor)
                for parent in tensor.parents:
                    visit(parent)
                order.append(tensor)  # after all that it was computed from

        visit(self)
        self.grad = np.ones_like(self.data)
        for tensor in reversed(order):
            grads = tensor.rule(tensor.grad) if tensor.rule else ()
            for parent, grad in zip(tensor.parents, grads, strict=True):
                parent.grad = grad if parent.grad is None else parent.grad + grad


def concatenate(tensors):
    """Join tensors (N, M, ...) along M."""
    ends = np.cumsum([tensor.data.shape[1] for tensor in tensors])[:-1]
    joined = np.concatenate([tensor.data for tensor in tensors], axis=1)
    return Tensor(joined, tensors, lambda grad: np.split(grad, ends, axis=1))


# %% [markdown]
# ## 2. Layers and losses
# [Convolution](02_convolution.py) as one matrix product, [norms](03_pool_norm_residual.py), and the
# losses of [classes](12_box_head.py), [masks](13_mask_head.py) and [deltas](08_matching.py).
# %%
def conv2d(x, weight, stride=1, padding=0):
    """Slide weight (O, C, s, s) over x (N, H, W, C): (N, h, w, O). Fully connected if s is H."""
    outs, ins, size, _ = weight.data.shape
    padded = np.pad(x.data, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))
    windows = windows[:, ::stride, ::stride].transpose(0, 1, 2, 4, 5, 3)  # N, h, w, size, size, C
    n, h, w = windows.shape[:3]
    rows = windows.reshape(n * h * w, size * size * ins)
    y = rows @ weight.data.transpose(2, 3, 1, 0).reshape(size * size * ins, outs)

    def rule(grad):
        grad = grad.reshape(n * h * w, outs)
        d_weight = (rows.T @ grad).reshape(size, size, ins, outs).transpose(3, 2, 0, 1)
        d_padded = np.zeros_like(padded)
        for r, s in np.ndindex(size, size):  # a pixel collects from every window that it was in
            pixels = np.s_[:, r : r + stride * h : stride, s : s + stride * w : stride]
            d_padded[pixels] += (grad @ weight.data[:, :, r, s]).reshape(n, h, w, ins)
        _, height, width, _ = x.data.shape
        return d_padded[:, padding : padding + height, padding : padding + width], d_weight

    return Tensor(y.reshape(n, h, w, outs), (x, weight), rule)


def conv_transpose2d(x, weight):
    """Each pixel of x (N, H, W, C) paints two by two with weight (C, O, 2, 2): (N, 2H, 2W, O)."""
    (n, h, w, ins), outs = x.data.shape, weight.data.shape[1]
    painted = conv2d(x, weight.transpose(2, 3, 1, 0).reshape(4 * outs, ins, 1, 1))
    in_place = painted.reshape(n, h, w, 2, 2, outs).transpose(0, 1, 3, 2, 4, 5)
    return in_place.reshape(n, 2 * h, 2 * w, outs)


def batch_norm(x, weight, bias, mean, variance):
    """Normalise each channel. The rule is for training, where the statistics are those of x."""
    scale = 1 / np.sqrt(variance + 1e-5)
    normal = (x.data - mean) * scale

    def rule(grad):
        d_weight, d_bias = (grad * normal).sum(axis=(0, 1, 2)), grad.sum(axis=(0, 1, 2))
        by_statistics = (d_bias + normal * d_weight) / normal[..., 0].size
        return weight.data * scale * (grad - by_statistics), d_weight, d_bias

    return Tensor(normal * weight.data + bias.data, (x, weight, bias), rule)


def relu(x):
    return Tensor(np.maximum(x.data, 0), (x,), lambda grad: (grad * (x.data > 0),))


def upsample(x):
    n, h, w, c = x.data.shape
    y = x.data.repeat(2, axis=1).repeat(2, axis=2)
    return Tensor(y, (x,), lambda grad: (grad.reshape(n, h, 2, w, 2, c).sum(axis=(2, 4)),))


def sigmoid(x):
    return 1 / (1 + np.exp(np.minimum(-x, 80)))  # exp(89) overflows


def softmax(x):
    powers = np.exp(x - x.max(axis=1, keepdims=True))  # less the largest: exp must not overflow
    return powers / powers.sum(axis=1, keepdims=True)


def binary_cross_entropy(logits, goals):
    x, count = logits.data, max(goals.size, 1)
    loss = (np.maximum(x, 0) - x * goals + np.log1p(np.exp(-np.abs(x)))).sum() / count
    return Tensor(loss, (logits,), lambda grad: (grad * (sigmoid(x) - goals) / count,))


def cross_entropy(logits, labels):
    p, one_hot = softmax(logits.data), np.eye(K, dtype=np.float32)[labels]
    loss = -np.log(p[one_hot > 0]).mean()
    return Tensor(loss, (logits,), lambda grad: (grad * (p - one_hot) / len(labels),))


def smooth_l1(x, goals, count, beta=1 / 9):
    error = x.data - goals
    near = np.minimum(np.abs(error), beta)
    loss = (near * (np.abs(error) - near / 2)).sum() / (beta * count)
    return Tensor(loss, (x,), lambda grad: (grad * np.clip(error / beta, -1, 1) / count,))


# %% [markdown]
# ## 3. Reading between pixels
# Between two pixels, the nearer counts more. Pixel 0 is at 0, so an image starts at -0.5. A matrix
# reads a row; [RoIAlign](11_roi_align.py) is one along y and one along x, its gradient their
# transposes. They also resize images, and cut out and paste [masks](13_mask_head.py).
# %%
def reading_matrix(start, length, bins, samples, extent):
    """Cut `length` pixels from `start` on, both (R,), into bins, means of `samples` points each.
    The weight of each pixel of a row of `extent` in each bin: (R, bins, extent).
    """
    start, length = np.reshape(start, (-1, 1)), np.reshape(length, (-1, 1))
    points = start + length * (np.arange(bins * samples) + 0.5) / (bins * samples)
    distance = np.abs(np.clip(points, 0, extent - 1)[..., None] - np.arange(extent))
    inside = (points >= -1) & (points <= extent)
    weights = np.maximum(1 - distance, 0) * inside[..., None]
    return weights.reshape(-1, bins, samples, extent).mean(axis=2).astype(np.float32)


def roi_align(levels, rois, bins):
    """Crop rois (R, 5: image and box), each from the level of its size: (R, bins, bins, C)."""
    scale = np.sqrt((rois[:, 3:] - rois[:, 1:3]).prod(axis=1) + 1e-9) / 224
    level = np.clip(np.floor(4 + np.log2(scale) + 1e-6), 2, 5) - 2
    crops = np.zeros((len(rois), bins, bins, levels[0].data.shape[3]), levels[0].data.dtype)
    parts = []
    for k, n in np.ndindex(len(levels), len(levels[0].data)):
        (own,) = np.nonzero((level == k) & (rois[:, 0] == n))
        image, (x1, y1, x2, y2) = levels[k].data[n], rois[own, 1:].T / 2 ** (k + 2)
        by_y = reading_matrix(y1, np.maximum(y2 - y1, 1), bins, 2, image.shape[0])
        by_x = reading_matrix(x1, np.maximum(x2 - x1, 1), bins, 2, image.shape[1])[:, None]
        crops[own] = by_x @ np.tensordot(by_y, image, 1)  # (r, 1, bins, W) @ (r, bins, W, C)
        parts.append((k, n, own, by_y, by_x))

    def rule(grad):
        grads = [np.zeros_like(level.data) for level in levels]
        for k, n, own, by_y, by_x in parts:
            rows = by_x.transpose(0, 1, 3, 2) @ grad[own]
            grads[k][n] += np.tensordot(by_y, rows, ((0, 1), (0, 1)))
        return grads

    return Tensor(crops, levels, rule)


def read(image, start, sides, height, width, samples=(1, 1)):
    """Read image (H, W, ...) on a grid over the box at `start` (x, y): (height, width, ...)."""
    by_x = reading_matrix(start[0], sides[0], width, samples[0], image.shape[1])[0]
    by_y = reading_matrix(start[1], sides[1], height, samples[1], image.shape[0])[0]
    return np.tensordot(by_x, np.tensordot(by_y, image, 1), (1, 1)).swapaxes(0, 1)


def mask_goal(mask, box):
    """What the mask head should say of a box (4,): its part of the true mask (H, W), 28 by 28."""
    sides = np.maximum(box[2:] - box[:2], 1)
    return read(mask.astype(np.float32), box[:2], sides, 28, 28, np.ceil(sides / 28).astype(int))


def paste(mask, box, height, width):
    """A mask of 28 by 28 probabilities in its box, in an image that is 0 elsewhere."""
    border = (box[2:] - box[:2]) / 28  # one cell of zeros around the mask
    corners = np.concatenate([box[:2] - border, box[2:] + border]).astype(int)
    cells = 30 / (corners[2:] - corners[:2] + 1)  # per pixel
    sides = cells * [width, height]
    return read(np.pad(mask, 1), -0.5 - corners[:2] * cells, sides, height, width)


# %% [markdown]
# ## 4. Boxes
# [Overlap](06_boxes_iou.py), [anchors](07_anchors.py), [deltas, matching,
# sampling](08_matching.py), [suppression](10_suppression.py). Plain arrays, without gradients.
# %%
def box_iou(a, b):
    """The overlap of each of boxes (A, 4) with each of boxes (B, 4): (A, B)."""
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = a.T[:, :, None], b.T
    width = np.maximum(np.minimum(ax2, bx2) - np.maximum(ax1, bx1), 0)
    height = np.maximum(np.minimum(ay2, by2) - np.maximum(ay1, by1), 0)
    shared = width * height
    return shared / ((ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - shared)


def encode(truth, boxes, weights):
    """The deltas (n, 4) that move boxes to the truth."""
    sides, true_sides = boxes[:, 2:] - boxes[:, :2], truth[:, 2:] - truth[:, :2]
    shift = (truth[:, :2] + truth[:, 2:] - boxes[:, :2] - boxes[:, 2:]) / 2
    return np.hstack([shift / sides, np.log(true_sides / sides)]) * weights


def decode(deltas, boxes, weights, height, width):
    """Move boxes (n, 4) by their deltas, and clip them to the image."""
    deltas, sides = deltas / weights, boxes[:, 2:] - boxes[:, :2]
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 + deltas[:, :2] * sides
    half = sides * np.exp(np.minimum(deltas[:, 2:], np.log(1000 / 16))) / 2
    moved = np.hstack([centre - half, centre + half])
    return np.clip(moved, 0, np.float32([width, height, width, height]))


def make_anchors(levels, height, width):
    """Three boxes at each cell of each level (M, 4), and the level of each (M,)."""
    anchors, ratio = [], np.sqrt([0.5, 1, 2])  # of height to width
    for level, size in zip(levels, ANCHOR_SIZES, strict=True):
        _, h, w, _ = level.data.shape
        half = np.stack([size / ratio, size * ratio], axis=1) / 2
        y, x = np.mgrid[:h, :w].reshape(2, -1, 1) * [[[height // h]], [[width // w]]]
        centres = np.hstack([x, y, x, y])[:, None]  # h*w, 1, 4
        anchors.append((centres + np.round(np.hstack([-half, half]))).reshape(-1, 4))
    level_of = np.repeat(np.arange(len(anchors)), [len(a) for a in anchors])
    return np.concatenate(anchors).astype(np.float32), level_of


def match(boxes, truth, high, low, closest):
    """The ground truth of each box (n,): its index, -1 for background, -2 for neither."""
    if len(truth) == 0:
        return np.full(len(boxes), -1)
    overlap = box_iou(truth, boxes)
    best, most = overlap.argmax(axis=0), overlap.max(axis=0)
    matches = np.where(most >= high, best, np.where(most >= low, -2, -1))
    is_closest = (overlap == overlap.max(axis=1, keepdims=True)).any(axis=0)
    return np.where(is_closest & closest, best, matches)  # so that no ground truth goes without


def pick(boxes, targets, rng, high, low, closest, count, weights):
    """What a stage learns from: each box's image, row, ground truth, label, deltas to reach."""
    parts = []
    for n, (own, target) in enumerate(zip(boxes, targets, strict=True)):
        matches = match(own, target["boxes"], high, low, closest)
        objects = rng.permutation(np.flatnonzero(matches >= 0))[: count // 2]
        background = rng.permutation(np.flatnonzero(matches == -1))[: count - len(objects)]
        rows = np.concatenate([objects, background])
        labels, goals = np.zeros(len(rows), int), np.zeros((len(rows), 4), np.float32)
        found, hit = matches[objects], slice(len(objects))
        labels[hit] = target["labels"][found]
        goals[hit] = encode(target["boxes"][found], own[objects], weights)
        parts.append((np.full(len(rows), n), rows, matches[rows], labels, goals))
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


def nms(boxes, scores, groups, threshold, limit):
    """Keep the best box, drop those of its group that overlap it, and so on: rows, best first."""
    order, kept = np.argsort(-scores, kind="stable"), []
    order = order[(boxes[order, 2:] - boxes[order, :2]).min(axis=1) > 1e-3]  # has an area
    while len(order) and len(kept) < limit:
        best, order = order[0], order[1:]
        kept.append(best)
        clash = box_iou(boxes[[best]], boxes[order])[0] > threshold
        order = order[~clash | (groups[order] != groups[best])]
    return np.array(kept, int)


def propose(logits, deltas, anchors, level_of, height, width, before, after):
    """Boxes (n, 4) of one image: each level's best `before` suppression, and the best `after`."""
    order = np.argsort(-logits, kind="stable")
    best = np.concatenate([order[level_of[order] == k][:before] for k in range(5)])
    boxes = decode(deltas[best], anchors[best], RPN[-1], height, width)
    return boxes[nms(boxes, logits[best], level_of[best], 0.7, after)]


# %% [markdown]
# ## 5. The network
# [ResNet](04_backbones.py), [pyramid](05_feature_pyramid.py), [RPN](09_region_proposals.py), two
# [heads](12_box_head.py). A layer draws its weights when it first runs, unless a file brought them.

# %%
K = 4  # background, square, circle, triangle
DEPTH = 48  # channels of the pyramid
ANCHOR_SIZES = (24, 48, 96, 192, 384)  # pixels, one per level
RPN = 0.7, 0.3, True, 128, np.float32([1, 1, 1, 1])  # `pick`: high, low, closest, count, weights
HEAD = 0.5, 0.5, False, 32, np.float32([10, 10, 5, 5])


class MaskRCNN:
    """Random, or with `weights` by name. An image's longer side is resized to `size` pixels."""

    def __init__(self, size, rng, weights=()):
        self.size, self.rng, self.training = size, rng, False
        self.arrays = {name: Tensor(array) for name, array in dict(weights).items()}

    def get(self, name, shape, spread=0.0, mean=0.0):
        if name not in self.arrays:
            self.arrays[name] = Tensor(np.float32(self.rng.normal(mean, spread, shape)))
        return self.arrays[name]

    def conv(self, name, x, outs, size=1, stride=1, padding=None, spread=None, bias=True):
        shape = outs, x.data.shape[3], size, size
        spread = spread or np.sqrt(2 / np.prod(shape[1:]))  # keeps the variance: He et al. 2015
        weight = self.get(f"{name}.weight", shape, spread).reshape(*shape)
        y = conv2d(x, weight, stride, size // 2 if padding is None else padding)
        return y + self.get(f"{name}.bias", outs) if bias else y

    def conv_norm(self, block, conv, norm, x, outs, size=3, stride=1):
        x = self.conv(block + conv, x, outs, size, stride, bias=False)
        weight, bias, mean, variance = (
            self.get(f"{block}{norm}.{part}", outs, mean=start)
            for part, start in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1))
        )
        moments = mean.data, variance.data
        if self.training:
            moments = x.data.mean(axis=(0, 1, 2)), x.data.var(axis=(0, 1, 2))
            mean.data = 0.9 * mean.data + 0.1 * moments[0]  # for detection
            variance.data = 0.9 * variance.data + 0.1 * moments[1]
        return batch_norm(x, weight, bias, *moments)

    def pyramid(self, images):
        """images (N, H, W, 3) -> five levels (N, h, w, DEPTH), at 1/4 to 1/64 of the size."""
        x, maps = relu(self.conv_norm("backbone.body.", "conv1", "bn1", images, 16, stride=2)), []
        for i, c in enumerate((16, 32, 64, 96)):
            block = f"backbone.body.layer{i + 1}.0."
            y = relu(self.conv_norm(block, "conv1", "bn1", x, c, stride=2))
            y = self.conv_norm(block, "conv2", "bn2", y, c)
            x = relu(y + self.conv_norm(block, "downsample.0", "downsample.1", x, c, 1, 2))
            maps.append(x)
        levels, merged = [], None
        for i in (3, 2, 1, 0):  # from the coarsest down
            lateral = self.conv(f"backbone.fpn.inner_blocks.{i}.0", maps[i], DEPTH)
            merged = lateral + upsample(merged) if merged else lateral
            levels.insert(0, self.conv(f"backbone.fpn.layer_blocks.{i}.0", merged, DEPTH, 3))
        return [*levels, levels[-1][:, ::2, ::2]]

    def rpn(self, levels):
        """Is each anchor of each image an object (N, M), and how should it move (N, M, 4)?"""
        logits, deltas, n = [], [], len(levels[0].data)
        for level in levels:
            hidden = relu(self.conv("rpn.head.conv.0.0", level, DEPTH, 3))
            logits.append(self.conv("rpn.head.cls_logits", hidden, 3, spread=0.01).reshape(n, -1))
            shifts = self.conv("rpn.head.bbox_pred", hidden, 12, spread=0.01)
            deltas.append(shifts.reshape(n, -1, 4))
        return concatenate(logits), concatenate(deltas)

    def box_head(self, crops):
        """crops (R, 7, 7, DEPTH) -> logits (R, K), and deltas for each class (R, K, 4)."""
        for i in range(2):
            crops = relu(self.conv(f"roi_heads.box_head.{i}.0", crops, 64, 3))
        hidden = relu(self.conv("roi_heads.box_head.3", crops, 128, 7, padding=0))
        logits = self.conv("roi_heads.box_predictor.cls_score", hidden, K, spread=0.01)
        deltas = self.conv("roi_heads.box_predictor.bbox_pred", hidden, 4 * K, spread=0.01)
        return logits.reshape(-1, K), deltas.reshape(-1, K, 4)

    def mask_head(self, crops, labels):
        """crops (R, 14, 14, DEPTH) -> logits of each one's own class (R, 28, 28)."""
        for i in range(5):
            crops = relu(self.conv(f"roi_heads.mask_head.{i}.0", crops, 32, 3))
        name = "roi_heads.mask_predictor.conv5_mask"
        larger = conv_transpose2d(crops, self.get(f"{name}.weight", (32, 32, 2, 2), 0.25))
        larger = relu(larger + self.get(f"{name}.bias", 32))
        logits = self.conv("roi_heads.mask_predictor.mask_fcn_logits", larger, K)
        return logits[np.arange(len(labels)), :, :, labels]

    def losses(self, images, targets, rng):
        """How wrong the model is about images (N, H, W, 3), as five losses."""
        levels, (n, height, width, _) = self.pyramid(Tensor(images)), images.shape
        logits, deltas = self.rpn(levels)
        anchors, level_of = make_anchors(levels, height, width)
        image, row, _, labels, goals = pick([anchors] * n, targets, rng, *RPN)
        hit, losses = labels > 0, {}
        losses["objectness"] = binary_cross_entropy(logits[image, row], hit)
        losses["anchor boxes"] = smooth_l1(deltas[image[hit], row[hit]], goals[hit], len(row))
        boxes = []
        for i, target in enumerate(targets):  # with the true boxes, to learn from at once
            guess = logits.data[i], deltas.data[i], anchors, level_of, height, width
            boxes.append(np.concatenate([propose(*guess, 400, 200), target["boxes"]]))
        image, row, matches, labels, goals = pick(boxes, targets, rng, *HEAD)
        rois = np.float32([[i, *boxes[i][r]] for i, r in zip(image, row, strict=True)])
        logits, deltas = self.box_head(roi_align(levels[:4], rois, 7))
        hit = np.flatnonzero(labels)
        losses["classes"] = cross_entropy(logits, labels)
        losses["boxes"] = smooth_l1(deltas[hit, labels[hit]], goals[hit], len(labels))
        logits = self.mask_head(roi_align(levels[:4], rois[hit], 14), labels[hit])
        masks = [mask_goal(targets[image[r]]["masks"][matches[r]], rois[r, 1:]) for r in hit]
        losses["masks"] = binary_cross_entropy(logits, np.reshape(masks, logits.data.shape))
        return losses

    def prepare(self, image):
        """image (H, W, 3) in 0..1 -> a padded batch of one; height and width without padding."""
        height, width = (int(s * (self.size / max(image.shape[:2]))) for s in image.shape[:2])
        image = (image - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
        batch = np.zeros((1, -(-height // 32) * 32, -(-width // 32) * 32, 3), np.float32)
        batch[0, :height, :width] = read(image, (-0.5, -0.5), image.shape[1::-1], height, width)
        return batch, height, width

    def detect(self, image):
        """Find the objects of image (H, W, 3): boxes, labels, scores, masks (n, H, W) bool."""
        batch, height, width = self.prepare(image)
        levels = self.pyramid(Tensor(batch))
        logits, deltas = (both.data[0] for both in self.rpn(levels))
        anchors = make_anchors(levels, *batch.shape[1:3])
        proposals = propose(logits, deltas, *anchors, height, width, 300, 100)
        logits, deltas = self.box_head(roi_align(levels[:4], np.insert(proposals, 0, 0, 1), 7))
        p = softmax(logits.data)
        row, label = np.nonzero(p[:, 1:] > 0.05)  # each class of each proposal is a candidate
        label, score = label + 1, p[row, label + 1]
        boxes = decode(deltas.data[row, label], proposals[row], HEAD[-1], height, width)
        keep = nms(boxes, score, label, 0.5, 50)
        boxes, labels, (h, w) = boxes[keep], label[keep], image.shape[:2]
        logits = self.mask_head(roi_align(levels[:4], np.insert(boxes, 0, 0, 1), 14), labels)
        boxes = boxes * np.float32([w / width, h / height] * 2)
        pasted = [paste(*both, h, w) for both in zip(sigmoid(logits.data), boxes, strict=True)]
        masks = np.reshape(pasted, (-1, h, w)) > 0.5
        return {"boxes": boxes, "labels": labels, "scores": score[keep], "masks": masks}


# %% [markdown]
# ## 6. Training and measuring
# Drawn images, no two alike. [SGD](14_training.py) with momentum, weight decay and clipping; the
# rate rises for 50 steps and then falls with the time. [AP](15_measuring.py) as COCO has it.
# %%
def draw_shapes(rng, size=128):
    """Up to six shapes on a striped, noisy background: an image, and its ground truth."""
    cells = rng.integers(2, 10)
    colours = rng.uniform(0, 0.5, (cells, cells, 3)) + rng.uniform(0, 0.43, 3)
    image = read(colours, (-0.5, -0.5), (cells, cells), size, size)
    y, x = np.mgrid[:size, :size] + 0.5
    stripes = np.sin(rng.normal(0, 0.4) * x + rng.normal(0, 0.4) * y)
    image += rng.uniform(-0.14, 0.14, 3) * stripes[..., None]
    owner, labels = np.full((size, size), -1), rng.integers(1, K, rng.integers(1, 7))
    for number, label in enumerate(labels):
        radius, turn, corners = rng.uniform(9, 32), rng.uniform(0, 2 * np.pi), (4, 40, 3)[label - 1]
        centre_x, centre_y = rng.uniform(0.7 * radius, size - 0.7 * radius, 2)
        dx, dy, sector = x - centre_x, y - centre_y, 2 * np.pi / corners
        angle = (np.arctan2(dy, dx) - turn) % sector - sector / 2  # from the middle of its side
        depth = radius * np.cos(sector / 2) - np.hypot(dx, dy) * np.cos(angle)
        light = np.stack([dx, dy], axis=2) @ rng.uniform(-0.1, 0.1, (2, 1)) / radius
        image += np.clip(depth + 0.5, 0, 1)[..., None] * (rng.uniform(0, 1, 3) + light - image)
        owner[depth > 0] = number
    image += rng.normal(0, rng.uniform(0.04, 0.063), image.shape)
    masks = owner == np.arange(len(labels))[:, None, None]
    seen = masks.sum(axis=(1, 2)) > 30
    boxes = [(x[m].min(), y[m].min(), x[m].max(), y[m].max()) for m in masks[seen]]  # of centres
    boxes = np.float32(boxes) + np.float32([-0.5, -0.5, 0.5, 0.5])
    target = {"boxes": boxes, "labels": labels[seen], "masks": masks[seen]}
    return np.clip(image, 0, 1).astype(np.float32), target


def train(model, next_batch, seconds, rate=0.02):
    """Learn from batches of (image, target), whose images have the model's size already."""
    velocity, start, step, model.training = {}, perf_counter(), 0, True
    while (share := (perf_counter() - start) / max(seconds, 1e-9)) < 1:
        images, targets = zip(*next_batch(), strict=True)
        batch = np.concatenate([model.prepare(image)[0] for image in images])
        losses = model.losses(batch, targets, model.rng)
        sum(losses.values(), Tensor(np.float32(0))).backward()
        weights = {name: w for name, w in model.arrays.items() if w.grad is not None}
        norm = np.sqrt(sum((w.grad**2).sum() for w in weights.values()))
        speed = rate * min(1, (step + 1) / 50) * (1 + float(np.cos(np.pi * share))) / 2
        for name, w in weights.items():
            push = w.grad * min(1, 5 / norm) + w.data * (1e-4 if w.data.ndim > 1 else 0)
            velocity[name] = 0.9 * velocity.get(name, 0) + push
            w.data, w.grad = w.data - speed * velocity[name], None
        if step % 50 == 0:
            parts = ", ".join(f"{name} {loss.data:.2f}" for name, loss in losses.items())
            print(f"{perf_counter() - start:4.0f} s, step {step}: {parts}", flush=True)
        step += 1
    model.training = False


def average_precision(found, targets, threshold=0.5):
    """The mean over classes of precision over recall, of the boxes that are found."""
    scores = []
    for k in range(1, K):
        hits, confidence, objects = [], [], 0
        for one, target in zip(found, targets, strict=True):
            own = one["labels"] == k
            overlap = box_iou(one["boxes"][own], target["boxes"][target["labels"] == k])
            confidence, objects = [*confidence, *one["scores"][own]], objects + overlap.shape[1]
            for row in overlap:  # best first; each object can be found once
                hits.append(row.max(initial=0) >= threshold)
                if hits[-1]:
                    overlap[:, row.argmax()] = 0
        if objects:
            order = np.argsort(-np.array(confidence), kind="stable")
            right = np.cumsum(np.array(hits, bool)[order])
            precision = np.append(right / np.arange(1, len(right) + 1), 0)
            precision = np.maximum.accumulate(precision[::-1])[::-1]
            reached = np.searchsorted(right / objects, np.linspace(0, 1, 101))
            scores.append(precision[reached].mean())
    return np.mean(scores)


def load_weights(path):
    """The arrays of a safetensors file, by name."""
    data, arrays = Path(path).read_bytes(), {}
    start = 8 + int.from_bytes(data[:8], "little")
    for name, entry in json.loads(data[8:start]).items():
        if name != "__metadata__":
            shape, first = entry["shape"], start + entry["data_offsets"][0]
            arrays[name] = np.frombuffer(data, "<f4", np.prod(shape), first).reshape(shape)
    return arrays


def draw(image, found):
    """The image, and beside it what was found, in red, green and blue by class."""
    drawn = image.copy()
    for box, label, score, mask in zip(*found.values(), strict=True):
        if score > 0.5:
            colour, (x1, y1, x2, y2) = np.eye(3)[label - 1], box.astype(int)
            drawn[mask] = (drawn[mask] + colour) / 2
            drawn[y1:y2, [x1, x2 - 1]] = drawn[[y1, y2 - 1], x1:x2] = colour
    return np.hstack([image, drawn]).repeat(2, axis=0).repeat(2, axis=1)


def write_png(path, image):
    lines = np.insert((image * 255).astype(np.uint8).reshape(len(image), -1), 0, 0, axis=1)
    header = b"IHDR" + np.array(image.shape[1::-1], ">u4").tobytes() + bytes([8, 2, 0, 0, 0])
    png = b"\x89PNG\r\n\x1a\n"
    for chunk in (header, b"IDAT" + zlib.compress(lines), b"IEND"):
        png += (len(chunk) - 4).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    Path(path).write_bytes(png)


def main(arguments):
    parser = argparse.ArgumentParser(description="Mask R-CNN in one file, on toy shapes.")
    commands = ("detect", "overfit", "train")
    parser.add_argument("command", nargs="?", default=commands[0], choices=commands)
    parser.add_argument("--minutes", type=float, default=2, help="of training (default: 2)")
    parser.add_argument("--weights", default=WEIGHTS, help="a safetensors file, for detect")
    parser.add_argument("--seed", type=int, default=0, help="another one: other images and weights")
    options = parser.parse_args(arguments)
    rng, unseen = (np.random.default_rng([options.seed % 2**32, i]) for i in (0, 1))
    images = [draw_shapes(unseen) for _ in range(4 if options.command == "overfit" else 50)]
    if options.command == "detect":
        try:
            model = MaskRCNN(256, rng, load_weights(options.weights))
            model.detect(images[0][0])  # only now it shows whether they fit
        except (OSError, ValueError, LookupError, AttributeError) as problem:
            parser.error(f"{options.weights}: cannot be used ({problem}); give other --weights")
    else:
        model, learn = MaskRCNN(128, rng), images if options.command == "overfit" else None
        train(model, lambda: learn or [draw_shapes(rng) for _ in range(4)], 60 * options.minutes)
    found = [model.detect(image) for image, _ in images]
    score = average_precision(found, [target for _, target in images])
    write_png("one_file.png", np.vstack([draw(images[i][0], found[i]) for i in range(4)]))
    print(f"AP50 of boxes on {len(images)} images: {score:.3f}; four of them: one_file.png")


HERE = Path(globals().get("__file__", "19_one_file.py")).resolve().parent  # notebooks have no file
WEIGHTS = HERE.parent / "tinymaskrcnn" / "pretrained" / "shapes.safetensors"
if __name__ == "__main__":
    main(None if "__file__" in globals() else [])
