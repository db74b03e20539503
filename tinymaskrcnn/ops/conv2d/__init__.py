"""Convolution over channels-last pictures, with optional fused residual and ReLU."""
