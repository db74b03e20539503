"""The nearest orthogonal matrix, roughly: what Muon makes of a gradient. Not differentiable, so
there is no op.py: optim.py calls the kernels.
"""
