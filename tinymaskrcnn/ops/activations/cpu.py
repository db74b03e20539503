"""Stands in until the kernels are here."""

from .reference import relu, relu_grad, sigmoid, sigmoid_grad, softmax, softmax_grad  # noqa: F401
