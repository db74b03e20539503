"""The geometry of detection on plain arrays: boxes, anchors, coding, matching, sampling. No Tensor,
no gradient.
"""
