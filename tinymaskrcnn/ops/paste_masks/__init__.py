"""Paste the masks of boxes into full-size images."""
