"""Transposed convolution over channels-last pictures, with optional fused ReLU."""
