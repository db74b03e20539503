"""The exercise engine: compare a learner's answer with a specification on many small inputs.

task.py says what a check declares; examine.py finds the smallest input on which an answer is wrong,
and recognises known mistakes, which mistakes.py reads and solutions.py makes of the solutions, and
usual.py those that are usual with NumPy; files.py reads exercises without running them; worker.py
and runner.py run them in a separate process; console.py is `tinymaskrcnn learn`, ladder.py its
hints.
"""

from .mistakes import mistakes
from .task import Law, Task, Wrong

__all__ = ["Law", "Task", "Wrong", "mistakes"]
