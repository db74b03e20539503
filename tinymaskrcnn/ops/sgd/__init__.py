"""The arithmetic of a training step after backward: gradient norm, SGD update, moving average.
These have no gradient, so there is no op.py: optim.py and training/ema.py call the kernels.
"""
