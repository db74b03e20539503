"""Matplotlib figures of every stage, each of a trace: `tm.viz.figures.centre_anchors(t)`.

>>> with tm.trace() as t:
...     model.detect([image])
>>> tm.viz.figures.proposal_stages(t).savefig("proposals.png")

Those of ground truth, matching and losses want a trace of `model.evaluate_losses(images, targets)`
(both halves) or of a training pass. `picture` is the number of the picture in its batch.
"""

from .inputs import (
    class_counts,
    feature_maps,
    gradient_maps,
    ground_truth,
    ground_truth_masks,
    network_input,
)
from .learning import (
    anchor_matches,
    loss_terms,
    mask_goals,
    mask_loss,
    overlap_matrix,
    sampled_anchors,
    sampled_regions,
    weight_histograms,
    weight_statistics,
)
from .proposals import (
    anchor_counts,
    centre_anchors,
    delta_histograms,
    objectness,
    proposal_corners,
    proposal_fates,
    proposal_recall,
    proposal_stages,
    recalls,
    refined_anchors,
    top_anchors,
)
from .regions import (
    all_proposals,
    candidate_fates,
    class_masks,
    class_scores,
    detections,
    filter_counts,
    mask_probabilities,
    pasting,
    pooled_crops,
    refined_proposals,
    roi_levels,
    sampling_points,
)
from .results import errors_of, mistakes, precision_recall_curve, truth_grid

__all__ = [
    "all_proposals",
    "anchor_counts",
    "anchor_matches",
    "candidate_fates",
    "centre_anchors",
    "class_counts",
    "class_masks",
    "class_scores",
    "delta_histograms",
    "detections",
    "errors_of",
    "feature_maps",
    "filter_counts",
    "gradient_maps",
    "ground_truth",
    "ground_truth_masks",
    "loss_terms",
    "mask_goals",
    "mask_loss",
    "mask_probabilities",
    "mistakes",
    "network_input",
    "objectness",
    "overlap_matrix",
    "pasting",
    "pooled_crops",
    "precision_recall_curve",
    "proposal_corners",
    "proposal_fates",
    "proposal_recall",
    "proposal_stages",
    "recalls",
    "refined_anchors",
    "refined_proposals",
    "roi_levels",
    "sampled_anchors",
    "sampled_regions",
    "sampling_points",
    "top_anchors",
    "truth_grid",
    "weight_histograms",
    "weight_statistics",
]
