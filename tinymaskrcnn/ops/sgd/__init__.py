"""The arithmetic of a training step after backward: gradient norm, SGD update, moving average.
Never differentiated, so there is no op.py: optim.py and training/ema.py call the kernels.
"""

from ...backend import Kernels

kernels = Kernels(__name__)
