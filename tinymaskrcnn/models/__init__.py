"""Mask R-CNN and its parts: backbones, pyramid, region proposals, heads, and the builders that
assemble them.
"""
