"""The fully connected layer in NumPy: three matrix products.

Works in float32 and float64; the output has the input's dtype. Arguments are not checked here but
in `op.py`.
"""

import numpy as np


def linear(x, weight, bias, relu, kept=None):
    """y[m, o] = relu?(bias[o] + sum over i of x[m, i] * weight[o, i]).

    x (M, In), weight (Out, In), bias (Out,) or None -> y (M, Out). Here nothing is derived from the
    weight, so `kept` is not used.
    """
    y = x @ weight.T
    if bias is not None:
        y += bias
    return np.maximum(y, 0) if relu else y


def linear_grad_output(grad, y, relu):
    """Gradient before bias and ReLU, and the bias gradient.

    grad (M, Out), y the output (used only with relu) -> (grad where y > 0, its sum (Out,)).
    """
    if relu:
        grad = grad * (y > 0)
    return grad, grad.sum(axis=0)


def linear_grad_input(grad, weight):
    """dx[m, i] = sum over o of grad[m, o] * weight[o, i]. grad (M, Out) -> dx (M, In)."""
    return grad @ weight


def linear_grad_weight(grad, x):
    """dw[o, i] = sum over m of grad[m, o] * x[m, i]. grad (M, Out), x (M, In) -> dw (Out, In)."""
    return grad.T @ x
