"""Resizing a picture, normalising its colours and turning it channels-last, in one pass."""
