"""The only error that this package raises."""

from ..errors import InputError


class WeightsError(InputError):
    """A weight file cannot be used: the message names the file and the reason."""
