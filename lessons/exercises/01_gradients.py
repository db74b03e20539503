"""Exercises of lesson 01, gradients. Replace each `raise NotImplementedError` and ask
`tinymaskrcnn learn NAME` whether it is right.
"""


def walk_order(made_of, end):
    """Build. The order of the backward walk: the end first, and each value only after everything
    that was made of it.

    Budget: 14 lines. Graphs are thousands deep, so do not recurse; each value comes once.

    Args:
        made_of: dict, of each value's name the list of names that it was made of; a name that is
            no key was made of nothing. end: the name to start from.

    Returns:
        a list of names: the end and all that it depends on. Any order that fits is right.
    """
    raise NotImplementedError


def divide_gradient(a, b, grad):
    """Fill. The rule of y = a / b.

    Budget: 3 lines.

    Args:
        a, b: float arrays of one shape; b is nowhere 0. grad: what y receives, of the same shape.

    Returns:
        (what a receives, what b receives), arrays of that shape.
    """
    raise NotImplementedError


def central_difference(function, x, step):
    """Fill. The slope of any function at x by each element of x, measured.

    Budget: 8 lines. Leave x as it was.

    Args:
        function: takes an array like x, gives a number. x: (n,) float64.
        step: how far to go to each side.

    Returns:
        (n,) float64.
    """
    raise NotImplementedError


def sum_to_shape(grad, shape):
    """Fill. An array of `shape` was stretched to the gradient's shape by broadcasting. What does it
    receive? Every element was used in several places, and all of them count.

    Budget: 6 lines. Broadcasting does two things: it puts new axes in front, and it stretches axes
    of size 1.

    Args:
        grad: an array. shape: a tuple of ints that broadcasts to grad.shape.

    Returns:
        an array of `shape`.
    """
    raise NotImplementedError


def softmax_gradient(y, grad):
    """Vectorise. The rule of softmax, row by row: y[i] = exp(x[i]) / sum of exp(x). Each output
    depends on all inputs of its row: d y[i] / d x[j] is y[i] - y[i] y[j] where i = j, else
    -y[i] y[j]. Without ever building that matrix.

    Budget: 3 lines, no loops.

    Args:
        y: (N, K), the results; each row sums to 1. grad: (N, K), what they receive.

    Returns:
        (N, K), what the inputs receive.
    """
    raise NotImplementedError
