"""The three losses of the detector: cross-entropy, binary cross-entropy on logits, smooth L1."""

from ...backend import Kernels

kernels = Kernels(__name__)
