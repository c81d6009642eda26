"""Arguments that hold numbers, and the precision whose range holds the squares of them."""

import numpy as np
import tensorflow as tf

from dsl_tf.errors import UserError

# Between these, float32 holds squares and their sums, and rounds no square to zero that matters beside the largest.
_FLOAT32 = (2.0**-30, 2.0**30)
# The same for float64.
_FLOAT64 = (2.0**-400, 2.0**400)


def check_finite(**arguments: np.ndarray | tf.Tensor) -> float:
    """Checks that arguments are finite, and small and large enough for their squares to be computed in float64.

    Args:
        **arguments: arrays or eager tensors of numbers, by the names that an error calls them.

    Returns:
        The largest absolute value of all arguments, 0 if they are empty.

    Raises:
        UserError: if a value is NaN or infinite, an argument holds no numbers, or the largest value is beyond 2^±400.
    """
    largest = 0.0
    for name, values in arguments.items():
        values = np.asarray(values)
        try:
            finite = np.isfinite(values)
        except TypeError:
            raise UserError(
                f"`{name}` must be an array of real numbers. Received: dtype {values.dtype}. Convert it to float32."
            ) from None
        if not finite.all():
            raise UserError(
                f"`{name}` must be finite. Received: {finite.size - np.count_nonzero(finite)} of {finite.size} values "
                "NaN or infinite. Check the network and the file that they come from."
            )
        if values.size:
            size = max(abs(float(values.max())), abs(float(values.min())))
            if size and not _FLOAT64[0] <= size <= _FLOAT64[1]:
                raise UserError(
                    f"The largest absolute value of `{name}` must be from 1e-120 to 1e120, or its squares cannot be "
                    f"computed. Received: {size:.3g}. Multiply the features by a constant."
                )
            largest = max(largest, size)
    return largest


def computing_dtype(**arguments: np.ndarray | tf.Tensor) -> np.dtype:
    """Returns float32, or float64 for values so large or small that float32 may not hold their squares.

    Args:
        **arguments: as in `check_finite`.

    Raises:
        UserError: as `check_finite` does.
    """
    largest = check_finite(**arguments)
    ordinary = largest == 0 or _FLOAT32[0] <= largest <= _FLOAT32[1]
    return np.dtype(np.float32 if ordinary else np.float64)


def check_visible(**arguments: np.ndarray | tf.Tensor) -> None:
    """Checks that squared distances can be seen beside the affinities that LaplacianShot compares them with.

    Args:
        **arguments: as in `check_finite`.

    Raises:
        UserError: as `check_finite` does, or if all values are below 2^-30 and not all of them zero.
    """
    largest = check_finite(**arguments)
    if 0 < largest < _FLOAT32[0]:
        raise UserError(
            f"LaplacianShot compares squared distances with 1, so `{'` or `'.join(arguments)}` must hold an absolute "
            f"value of at least 1e-9. Received: at most {largest:.3g}. Multiply the features by a constant, or take "
            "the feature transform l2."
        )
