"""The fully connected layer on the GPU: three matrix products, which differ in the axes along which
they read. The product's last step adds the bias and applies ReLU.
"""

from ..activations.cuda import relu_grad
from ..cuda_gemm import product
from ..cuda_sums import sum_middle


def linear(x, weight, bias, relu, kept=None):
    (rows, ins), outs = x.shape, len(weight)
    steps = (0, ins, 1), (0, 1, ins)  # the weight (Out, In) is read as (In, Out)
    return product(x, weight, (rows, outs, ins), *steps, bias=bias, relu=relu)[0]


def linear_grad_output(grad, y, relu):
    masked = relu_grad(grad, y) if relu else grad
    rows, outs = grad.shape
    return masked, sum_middle(masked.reshape(1, rows, outs))[0]


def linear_grad_input(grad, weight):
    (rows, outs), ins = grad.shape, weight.shape[1]
    return product(grad, weight, (rows, ins, outs), (0, outs, 1), (0, ins, 1))[0]


def linear_grad_weight(grad, x):
    (rows, outs), ins = grad.shape, x.shape[1]
    return product(grad, x, (outs, ins, rows), (0, 1, outs), (0, ins, 1))[0]
