"""The exercise engine: a learner's answer is compared with a specification on many small inputs.

task.py says what a check declares; examine.py finds the smallest input on which an answer is wrong,
and which known mistake it is; files.py reads exercises without running them; worker.py and
runner.py run them in a process of their own; console.py is `tinymaskrcnn learn`.
"""

from .task import Law, Task, Wrong

__all__ = ["Law", "Task", "Wrong"]
