"""Exercises of lesson 01b, a network that learns. Replace each `raise NotImplementedError` and ask
`tinymaskrcnn learn NAME` whether it is right.
"""


def network_logits(x, layers):
    """Fill. The logits of a network with any number of layers: a ReLU after each layer but the
    last.

    Budget: 6 lines.

    Args:
        x: (N, I) float, a batch of inputs.
        layers: a list of (weights (I, O), bias (O,)); the outputs of one are the inputs of the
            next. There is at least one.

    Returns:
        (N, K) float, K being the number of outputs of the last layer.
    """
    raise NotImplementedError


def epoch_batches(order, size):
    """Fill. One epoch in batches: the examples in their shuffled order, `size` at a time. The last
    batch has what is left, and is never empty.

    Budget: 3 lines.

    Args:
        order: (N,) int, a permutation of the examples; N may be 0.
        size: examples per batch, 1 or more.

    Returns:
        a list of int arrays.
    """
    raise NotImplementedError


def stop_early(losses, patience):
    """Fill. Early stopping: training ends once the validation loss has not reached a new minimum
    for `patience` epochs in a row. Whatever comes later is never seen. Which epoch's weights are
    kept?

    Budget: 8 lines.

    Args:
        losses: a list of floats, the validation loss after each epoch; at least one.
        patience: an int, 1 or more.

    Returns:
        an int: the index of the epoch with the lowest loss among those that were run; of equal
        ones the first.
    """
    raise NotImplementedError


def train_classifier(x, labels, classes, rate, steps):
    """Extend. Train one linear layer with softmax cross-entropy, without an engine: all examples in
    each step, from weights and bias 0. Per example, the gradient of the loss with respect to the
    logits is the probabilities, minus 1 for the true class; the loss is the mean over examples.

    Budget: 14 lines.

    Args:
        x: (N, I) float64. labels: (N,) int, 0 and above. classes: K.
        rate: the learning rate. steps: how many.

    Returns:
        (weights (I, K), bias (K,)).
    """
    raise NotImplementedError


def what_went_wrong(train_losses, val_losses):
    """Extend. A run is broken: find out how from its curves. The rules, in this order:

    - "exploded": a loss of either kind is not a finite number, or the training loss ends above
      where it began;
    - "learns nothing": the training loss ends above nine tenths of where it began;
    - "overfits": the validation loss ends more than a tenth above its own minimum;
    - "fine": none of these.

    Budget: 12 lines.

    Args:
        train_losses, val_losses: (E,) float, one per epoch; E is at least 1.

    Returns:
        one of the four names.
    """
    raise NotImplementedError
