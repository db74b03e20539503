"""Transposed convolution over channels-last maps, with optional fused ReLU."""
