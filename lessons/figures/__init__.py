"""Figures that only the lessons and their exercises show, as PIL pictures; and `show`.

Not here: figures of a trace, which everybody can draw (tinymaskrcnn/viz/figures).
"""
