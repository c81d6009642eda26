"""The table of ways to join two losses."""

import dataclasses

from dsl_tf.losses.integrated import ClassifierSubspaceLoss, DirectSumLoss, SpectralSumLoss, SumLoss


@dataclasses.dataclass(frozen=True)
class Integration:
    """A way to join two losses.

    Args:
        symbol: the sign that reports print between the symbols of the two losses.
        loss: its class.
        options: the names of its arguments that `SumLoss` does not have.
    """

    symbol: str
    loss: type[SumLoss]
    options: tuple[str, ...] = ()


INTEGRATIONS = {
    "sum": Integration("+", SumLoss),
    "direct_sum": Integration("⊕", DirectSumLoss, ("epsilon", "gradient_to_kernel", "fixed_subspace")),
    "spectral_sum": Integration("⊕", SpectralSumLoss, ("power", "gradient_to_kernel", "interval")),
    "classifier_subspace": Integration(
        "+", ClassifierSubspaceLoss, ("epsilon", "gradient_to_kernel", "fixed_subspace")
    ),
}
