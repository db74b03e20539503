"""Elementwise non-linearities (ReLU, sigmoid) and softmax, each with its gradient."""
