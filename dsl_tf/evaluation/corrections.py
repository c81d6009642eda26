"""Corrections for many comparisons at once."""

import numpy as np
import numpy.typing as npt


def holm(p_values: npt.ArrayLike) -> np.ndarray:
    """Corrects p-values for their number: those at most 0.05 are all of true differences, with 95% confidence.

    Of m values in rising order, the i-th becomes max over j ≤ i of min(1, (m − j + 1)·p_j). No assumption about their
    dependence is made (Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6, 1979).

    Args:
        p_values: of any shape; NaN for what is no comparison.

    Returns:
        The corrected values, float64 of the same shape; NaN stays.
    """
    p_values = np.asarray(p_values, np.float64)
    corrected = np.full(p_values.shape, np.nan)
    places = np.flatnonzero(~np.isnan(p_values))
    order = places[np.argsort(p_values.flat[places], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected.flat[order] = np.minimum(1, np.maximum.accumulate(factors * p_values.flat[order]))
    return corrected
