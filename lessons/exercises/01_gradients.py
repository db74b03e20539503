"""Exercises of lesson 01, gradients. Replace each `raise NotImplementedError`, then ask
`tinymaskrcnn learn NAME` whether your answer is right.
"""


def walk_order(made_of, end):
    """Build. The order of backpropagation: the end first, and each value only after everything that
    was made from it.

    Budget: 14 lines. Graphs are thousands of steps deep, so do not recurse. Each value comes once.

    Args:
        made_of: a dict from each value's name to the list of names it was made from; a name that
            is not a key was made from nothing. end: the name to start from.

    Returns:
        a list of names: the end and everything it depends on. Any order that fits is right.
    """
    raise NotImplementedError


def divide_gradient(a, b, grad):
    """Fill. The backward rule of y = a / b.

    Budget: 3 lines.

    Args:
        a, b: float arrays of the same shape; b is never 0. grad: the gradient of the loss with
            respect to y, of that shape too.

    Returns:
        (gradient with respect to a, gradient with respect to b), arrays of that shape.
    """
    raise NotImplementedError


def central_difference(function, x, step):
    """Fill. Measure the derivative of any function with respect to each element of x.

    Budget: 8 lines. Leave x as it was.

    Args:
        function: takes an array like x, returns a number. x: (n,) float64.
        step: how far to go to each side.

    Returns:
        (n,) float64.
    """
    raise NotImplementedError


def sum_to_shape(grad, shape):
    """Fill. Broadcasting has stretched an array of `shape` to the shape of `grad`. What is the
    array's gradient? Every element was used in several places, and all of them count.

    Budget: 6 lines. Broadcasting does two things: it adds new axes in front, and it stretches axes
    of size 1.

    Args:
        grad: an array. shape: a tuple of ints that broadcasts to grad.shape.

    Returns:
        an array of `shape`.
    """
    raise NotImplementedError


def softmax_gradient(y, grad):
    """Vectorise. The backward rule of softmax, row by row: y[i] = exp(x[i]) / sum of exp(x). Each
    output depends on all inputs of its row: d y[i] / d x[j] is y[i] - y[i] y[j] if i = j, and
    -y[i] y[j] if not. Never build that matrix.

    Budget: 3 lines, no loops.

    Args:
        y: (N, K), the results; each row sums to 1. grad: (N, K), the loss's gradient with respect
            to y.

    Returns:
        (N, K), the gradient with respect to x.
    """
    raise NotImplementedError
