"""Group normalisation on the GPU. The passes over the map are in ops/cuda_norms.py; for them each
image is a sample.
"""

from ..activations.cuda import relu_grad
from ..cuda_norms import as_samples, moments, normalise, normalise_grad


def group_norm(x, num_groups, weight, bias, residual, eps, relu):
    samples = as_samples(x)
    mean, var = moments(samples, num_groups)
    y = normalise(samples, mean, var, weight, bias, residual, eps, relu)
    return y.reshape(x.shape), mean, var


def group_norm_grad(grad, x, y, weight, mean, var, eps, relu, with_residual):
    if relu and with_residual:
        grad, relu = relu_grad(grad, y), False
    masks = as_samples(y) if relu else None
    arguments = as_samples(grad), as_samples(x), masks, weight, mean, var, eps
    dx, dweight, dbias = normalise_grad(*arguments)
    return dx.reshape(x.shape), dweight, dbias, grad if with_residual else None
