"""Find, roughly, the orthogonal matrix nearest to a gradient: the heart of Muon. It is never
differentiated, so there is no op.py: optim.py calls the kernels.
"""

from ...backend import Kernels

kernels = Kernels(__name__)
