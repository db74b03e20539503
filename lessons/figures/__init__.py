"""Figures for the lessons and their exercises only, as PIL images; and `show`.

Not here: figures of a trace, which every user can draw (tinymaskrcnn/viz/figures).
"""
