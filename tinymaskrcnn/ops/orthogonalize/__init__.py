"""Roughly the nearest orthogonal matrix: Muon turns each gradient into it. This has no gradient, so
there is no op.py: optim.py calls the kernels.
"""
