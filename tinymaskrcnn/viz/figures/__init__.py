"""Matplotlib figures of every stage, each made from a trace: `tm.viz.figures.centre_anchors(t)`.

>>> with tm.trace() as t:
...     model.detect([image])
>>> tm.viz.figures.proposal_stages(t).savefig("proposals.png")

Figures of ground truth, matching and losses need a trace of `model.evaluate_losses(images,
targets)` (both halves) or of a training pass; those of several passes, a trace of each. `image`
is the index of the image in its batch.

Not here: figures of a data set (viz/dataset_figures.py) or of weights (viz/weight_figures.py).
"""

from .course import training_course
from .inputs import (
    class_counts,
    feature_maps,
    gradient_maps,
    ground_truth,
    ground_truth_masks,
    network_input,
)
from .proposals import (
    anchor_counts,
    centre_anchors,
    delta_histograms,
    objectness,
    proposal_corners,
    proposal_outcomes,
    proposal_recall,
    proposal_stages,
    recalls,
    refined_anchors,
    top_anchors,
)
from .regions import (
    all_proposals,
    candidate_outcomes,
    class_masks,
    class_scores,
    detections,
    filter_counts,
    filter_rows,
    mask_probabilities,
    pasted_masks,
    pasting,
    pooled_crops,
    refined_proposals,
    roi_levels,
    sampling_points,
)
from .results import errors_of, mistakes, precision_recall_curve, truth_grid
from .training import (
    anchor_matches,
    loss_terms,
    mask_goals,
    mask_loss,
    mask_resolution,
    overlap_matrix,
    sample_statistics,
    sampled_anchors,
    sampled_regions,
    sampled_shares,
)

__all__ = [
    "all_proposals",
    "anchor_counts",
    "anchor_matches",
    "candidate_outcomes",
    "centre_anchors",
    "class_counts",
    "class_masks",
    "class_scores",
    "delta_histograms",
    "detections",
    "errors_of",
    "feature_maps",
    "filter_counts",
    "filter_rows",
    "gradient_maps",
    "ground_truth",
    "ground_truth_masks",
    "loss_terms",
    "mask_goals",
    "mask_loss",
    "mask_probabilities",
    "mask_resolution",
    "mistakes",
    "network_input",
    "objectness",
    "overlap_matrix",
    "pasted_masks",
    "pasting",
    "pooled_crops",
    "precision_recall_curve",
    "proposal_corners",
    "proposal_outcomes",
    "proposal_recall",
    "proposal_stages",
    "recalls",
    "refined_anchors",
    "refined_proposals",
    "roi_levels",
    "sample_statistics",
    "sampled_anchors",
    "sampled_regions",
    "sampled_shares",
    "sampling_points",
    "top_anchors",
    "training_course",
    "truth_grid",
]
