"""The errors that a person can cause and mend. The command line shows them as one line and ends
with status 2.
"""


class InputError(ValueError):
    """What was given cannot be used: the message names the file or argument, its value, and what
    was expected.
    """


class NonFiniteError(FloatingPointError):
    """A loss became infinite or NaN in training: the message names the term, the step, the picture
    and the layer.
    """
