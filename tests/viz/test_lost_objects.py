"""viz/lost_objects.py."""

import numpy as np

import tinymaskrcnn as tm
from tinymaskrcnn.viz.lost_objects import why_missed


def test_a_miss_names_the_stage_that_lost_it():
    """A model whose heads take nothing for an object loses every object there; one that proposes
    a single box loses them before.
    """
    image, target = tm.ToyShapes(3, size=64, min_objects=2, max_objects=3)[0]
    reasons = []
    for settings in ({"box_score_thresh": 0.999}, {"rpn_post_nms_top_n_test": 1}):
        model = tm.maskrcnn_tiny(min_size=64, max_size=64, **settings).eval()
        with tm.trace() as t:
            model.evaluate_losses([image], [target], np.random.default_rng(0))
        reasons.append([why_missed(t, g) for g in range(len(target["labels"]))])
    heads, first = reasons
    assert any("but its class scored only" in reason for reason in heads)
    assert all("proposal" in r or "no box of the first stage" in r for r in first)
    assert any("enough other boxes had better scores" in r or "no box" in r for r in first)
