"""How good a model is: COCO's metrics for boxes and masks, computed by pycocotools, and the reasons
behind the errors.
"""

from .coco_metrics import FIGURES, coco_metrics
from .error_counts import count_errors, image_errors
from .evaluator import evaluate
from .results import coco_annotations, coco_results

__all__ = [
    "FIGURES",
    "coco_annotations",
    "coco_metrics",
    "coco_results",
    "count_errors",
    "evaluate",
    "image_errors",
]
