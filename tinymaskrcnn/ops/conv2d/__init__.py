"""Convolution over channels-last maps, with optional fused residual and ReLU."""
