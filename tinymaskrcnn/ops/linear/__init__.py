"""The fully connected layer, with optional fused ReLU."""
