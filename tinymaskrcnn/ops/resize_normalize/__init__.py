"""Resize an image, normalise its colours and make it channels-last, in one pass."""
