"""Student's t distribution."""

import math

import numpy as np

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)


def student_quantile(degrees: float) -> float:
    """Returns the 97.5% quantile of Student's t distribution, for any number of degrees of freedom from 1, a float."""
    # With t = √ν·tan θ, the density of t becomes one of θ: cos θ to the power ν − 1, which quadrature finds easy.
    scale = math.exp(math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)) / math.sqrt(math.pi)
    # The quantile is largest at ν = 1, with 12.7.
    low, high = 0.0, math.atan(13 / math.sqrt(degrees))
    for _ in range(60):
        middle = (low + high) / 2
        inside = scale * middle * (_WEIGHTS @ np.cos(middle * (_NODES + 1) / 2) ** (degrees - 1))
        low, high = (middle, high) if inside < 0.95 else (low, middle)
    return math.sqrt(degrees) * math.tan(low)
