"""Training: recipes, the trainer, its run folder and checkpoints."""

from .interrupts import TrainingStopped
from .recipes import Recipe
from .trainer import Trainer

__all__ = ["Recipe", "Trainer", "TrainingStopped"]
