"""Arguments that hold numbers, and the precision whose range holds the squares of them."""

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from dsl_tf.errors import UserError

# Between these, float32 holds squares and their sums, and rounds no square to zero that matters beside the largest.
_FLOAT32 = (2.0**-30, 2.0**30)
# Sums of squares of at most 2^31 values of which the largest is between them for sure.
_SQUARES = (_FLOAT32[0] ** 2 * 2.0**31, _FLOAT32[1] ** 2)
# The same for float64.
_FLOAT64 = (2.0**-400, 2.0**400)


def check_finite(**arguments: npt.ArrayLike | tf.Tensor) -> float:
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


def check_features(features: npt.ArrayLike, labels: npt.ArrayLike, mean: npt.ArrayLike | None) -> None:
    """Checks features `[n, d]` of labels `[n]`, and a mean that may be missing.

    Raises:
        UserError: if the shapes do not match, or as `check_finite` does.
    """
    shape = np.shape(features)
    if len(shape) != 2 or np.shape(labels) != shape[:1]:
        raise UserError(f"Expected features [n, d] and labels [n]. Received: {shape}, {np.shape(labels)}.")
    check_finite(features=features, **({} if mean is None else {"mean": mean}))


def computing_dtype(**arguments: np.ndarray | tf.Tensor) -> np.dtype:
    """Returns float32, or float64 for values so large or small that float32 may not hold their squares.

    Args:
        **arguments: as in `check_finite`.

    Raises:
        UserError: as `check_finite` does.
    """
    return np.dtype(np.float32 if _float32_holds(check_finite(**arguments)) else np.float64)


def is_ordinary(*arrays: np.ndarray) -> bool:
    """Returns whether all values are finite and float32 holds their squares; False for what holds no numbers.

    It is faster than `computing_dtype`, which says what is wrong.
    """
    if all(array.dtype == np.float32 for array in arrays):
        # One pass in place of two: a sum of squares is finite if all values are, and bounds the largest of them.
        flat = [array.reshape(-1) for array in arrays if array.flags.c_contiguous]
        with np.errstate(over="ignore"):
            squares = [float(np.dot(values, values)) for values in flat if values.size]
        if len(flat) == len(arrays) and all(_SQUARES[0] <= total <= _SQUARES[1] for total in squares):
            return True
    if any(array.dtype == object for array in arrays):
        return False
    try:
        # NaN and infinity in an array are in its extremes too.
        extremes = [float(abs(extreme)) for a in arrays if a.size for extreme in (a.min(), a.max())]
    except (TypeError, ValueError):
        return False
    return all(map(np.isfinite, extremes)) and _float32_holds(max(extremes, default=0.0))


def _float32_holds(largest: float) -> bool:
    return largest == 0 or _FLOAT32[0] <= largest <= _FLOAT32[1]


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
