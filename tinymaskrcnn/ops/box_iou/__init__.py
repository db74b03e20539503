"""Intersection over union of boxes."""
