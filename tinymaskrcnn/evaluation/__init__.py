"""How good a model is: COCO's figures for boxes and masks, over pycocotools."""

from .coco_metrics import FIGURES, coco_metrics
from .evaluator import evaluate
from .results import coco_annotations, coco_results

__all__ = ["FIGURES", "coco_annotations", "coco_metrics", "coco_results", "evaluate"]
