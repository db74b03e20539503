"""The fully connected layer on the CPU."""

from .reference import linear, linear_grad_input, linear_grad_output, linear_grad_weight  # noqa: F401
