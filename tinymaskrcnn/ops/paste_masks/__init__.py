"""Masks of boxes, pasted into pictures."""
