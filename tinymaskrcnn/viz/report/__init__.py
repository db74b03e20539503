"""The page that shows every stage of one image, and the page that shows it while a model learns.

pack.py      numbers and images packed into one compressed text that a page can hold
collect.py   what a trace of one image says, in the page's terms
learning.py  the same for matching, losses, gradients and errors, when there is ground truth
timeline.py  one moment of training
pages.py     both pages as HTML, each complete in one file
page/        their HTML, style and scripts
"""

from .pages import explain_page, timeline_page, trace_of
from .timeline import missing_moment, moment

__all__ = ["explain_page", "missing_moment", "moment", "timeline_page", "trace_of"]
