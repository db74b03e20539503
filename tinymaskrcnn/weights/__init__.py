"""Weight files: torchvision's .pth read without torch, safetensors read and written, and the names
of the parameters in both spellings.
"""

from ..errors import WeightsError
from .files import load_weights, read_metadata, save_weights
from .names import backbone_state, canonical

__all__ = [
    "WeightsError",
    "backbone_state",
    "canonical",
    "load_weights",
    "read_metadata",
    "save_weights",
]
