"""Batch normalisation on the GPU. The passes over the map are in ops/cuda_norms.py; for them the
whole batch is one sample.
"""

from numba import float32

from ...errors import InputError
from ...gpu.array import empty
from ...gpu.launch import F1, F2, F, I, blocks, cuda, kernel
from ..activations.cuda import relu_grad
from ..basic.cuda import multiply
from ..cuda_norms import as_one_sample, moments, normalise, normalise_grad
from ..cuda_sums import sum_middle


def batch_norm(x, weight, bias, residual, eps, relu, total=None):
    _refuse(total)
    one = as_one_sample(x)
    mean, var = moments(one, x.shape[3])
    y = normalise(one, mean, var, weight, bias, residual, eps, relu)
    return y.reshape(x.shape), mean[0], var[0]


def batch_norm_grad(grad, x, y, weight, mean, var, eps, relu, with_residual, total=None):
    _refuse(total)
    if relu and with_residual:
        grad, relu = relu_grad(grad, y), False
    masks = as_one_sample(y) if relu else None
    statistics = mean.reshape(1, mean.size), var.reshape(1, var.size)
    arguments = as_one_sample(grad), as_one_sample(x), masks, weight, *statistics, eps
    dx, dweight, dbias = normalise_grad(*arguments)
    return dx.reshape(x.shape), dweight, dbias, grad if with_residual else None


def _refuse(total):
    if total is not None:
        raise InputError("sync_norms: processes can share norms only on the cpu")


def move_statistics(running, value, momentum, correction):
    _move[blocks(running.size)](running, value, momentum, correction)


def affine(x, scale, shift, residual, relu):
    y = empty(x.shape)
    rows = x.size // max(x.shape[3], 1), x.shape[3]
    given = x if residual is None else residual
    flags = residual is not None, relu
    arrays = x.reshape(rows), scale, shift, given.reshape(rows)
    _affine[blocks(y.size)](*arrays, *flags, y.reshape(rows))
    return y


def affine_grad(grad, x, y, scale, relu, with_scale, with_residual):
    if relu:
        grad = relu_grad(grad, y)
    dscale = dshift = None
    if with_scale:
        dscale = sum_middle(as_one_sample(multiply(grad, x)))[0]
        dshift = sum_middle(as_one_sample(grad))[0]
    return multiply(grad, scale), dscale, dshift, grad if with_residual else None


@kernel(F1, F1, F, F)
def _move(running, value, momentum, correction):
    """running[c] += momentum * (correction * value[c] - running[c]): thread c."""
    for c in range(cuda.grid(1), running.size, cuda.gridsize(1)):
        running[c] += momentum * (correction * value[c] - running[c])


@kernel(F2, F1, F1, F2, I, I, F2)
def _affine(x, scale, shift, residual, with_residual, relu, y):
    """y[m, c] = relu?(x * scale[c] + shift[c] + residual): one thread per cell."""
    channels = x.shape[1]
    for cell in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        m, c = cell // channels, cell % channels
        value = x[m, c] * scale[c] + shift[c]
        if with_residual:
            value += residual[m, c]
        y[m, c] = float32(0) if relu and value <= float32(0) else value
