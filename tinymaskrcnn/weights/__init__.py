"""Weight files: read torchvision's .pth without torch, read and write safetensors, and know the
parameters' names in both spellings.
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
