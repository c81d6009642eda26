"""Student's t distribution."""

import math

import numpy as np

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)


def _inside(angle: float, degrees: float) -> float:
    """Returns the probability of |t| ≤ √ν·tan θ for an angle θ."""
    # With t = √ν·tan θ, the density of t becomes one of θ: cos θ to the power ν − 1, which quadrature finds easy.
    scale = math.exp(math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)) / math.sqrt(math.pi)
    # In parts, because with many degrees of freedom all of it is near 0.
    parts = math.ceil(angle * math.sqrt(degrees) / 8) or 1
    angles = angle / parts * (np.arange(parts)[:, None] + (_NODES + 1) / 2)
    return scale * angle / parts * float((np.cos(angles) ** (degrees - 1) @ _WEIGHTS).sum())


def student_p_value(t: float, degrees: float) -> float:
    """Returns the probability that |t| is larger, for Student's distribution with ν ≥ 1 degrees of freedom."""
    return max(0.0, 1 - _inside(math.atan(abs(t) / math.sqrt(degrees)), degrees))


def student_quantile(degrees: float) -> float:
    """Returns the 97.5% quantile of Student's t distribution, for any number of degrees of freedom from 1, a float."""
    # The quantile is largest at ν = 1, with 12.7.
    low, high = 0.0, math.atan(13 / math.sqrt(degrees))
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _inside(middle, degrees) < 0.95 else (low, middle)
    return math.sqrt(degrees) * math.tan(low)
