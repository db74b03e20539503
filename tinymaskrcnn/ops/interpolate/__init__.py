"""Resizing of feature maps, nearest and bilinear, and the feature pyramid's upsample-and-add."""
