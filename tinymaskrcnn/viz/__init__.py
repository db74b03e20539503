"""What a person sees: figures of every stage (figures/), pictures with what was found in them
(draw.py), the course of a training run (curves.py), and the colours of all of them (colours.py).
"""

from . import colours, figures

__all__ = ["colours", "figures"]
