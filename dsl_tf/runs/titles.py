"""Names of trainings: the loss as the paper writes it, and the settings that distinguish it from others."""

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

from dsl_tf.losses import CLASSIFICATION_LOSSES, INTEGRATIONS, METRIC_LOSSES
from dsl_tf.runs.configuration import TrainingConfiguration
from dsl_tf.runs.configuration.method import RESNETS

# The flags that choose the loss. The other flags of a training are its settings.
_LOSS_FLAGS = (
    "classification_loss",
    "metric_loss",
    "head",
    "integration",
    "power",
    "spectral_interval",
    "epsilon",
    "gradient_to_kernel",
)


def inert_flags(configuration: TrainingConfiguration) -> set[str]:
    """Returns the names of the flags that have no effect on a training, given its losses and its backbone."""
    inert = {"weights" if configuration.backbone in RESNETS else "filters"}
    if configuration.precision != "float32":
        inert.add("tensor_float_32")
    if configuration.optimizer != "sgd":
        inert.add("momentum")
    if configuration.schedule != "step":
        inert |= {"decay_epochs", "decay_rate"}
    if configuration.classification_loss == "none":
        inert.add("head")
    if "none" in (configuration.classification_loss, configuration.metric_loss):
        inert |= {"integration", "metric_weight", "power", "spectral_interval", "epsilon", "gradient_to_kernel"}
    elif configuration.integration == "sum":
        inert |= {"power", "spectral_interval", "epsilon", "gradient_to_kernel"}
    elif configuration.integration == "spectral_sum":
        inert.add("epsilon")
    else:
        inert |= {"power", "spectral_interval"}
    return inert


def loss_key(configuration: TrainingConfiguration) -> tuple[tuple[str, Any], ...]:
    """Returns the flags that choose a training's loss and have an effect, as pairs of name and value."""
    inert = inert_flags(configuration)
    values = {name: getattr(configuration, name) for name in _LOSS_FLAGS if name not in inert}
    if "spectral_interval" in values:
        # A run on a GPU records its default of 10.
        values["spectral_interval"] = values["spectral_interval"] or 1
    return tuple(values.items())


def settings(configuration: TrainingConfiguration) -> dict[str, Any]:
    """Returns the flags with an effect on a training's result, except data set, loss and seed: `{name: value}`."""
    left_out = {"dataset", "seed", *_LOSS_FLAGS, *inert_flags(configuration)}
    return {
        field.name: getattr(configuration, field.name)
        for field in dataclasses.fields(configuration)
        if field.metadata["mathematical"] and field.name not in left_out
    }


def value_text(value: Any) -> str:
    """Formats the value of a setting, such as `"16,32,64,256"`; None is `"default"`."""
    if value is None:
        return "default"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def loss_title(configuration: TrainingConfiguration) -> str:
    """Names a training's loss as the paper's tables do, with its options, such as `"SCE⊕NCA p=0.3"`."""
    flags = dict(loss_key(configuration))
    tables = {"classification_loss": CLASSIFICATION_LOSSES, "metric_loss": METRIC_LOSSES}
    symbols = [table[flags[flag]].symbol for flag, table in tables.items() if flags[flag] != "none"]
    parts = [INTEGRATIONS[configuration.integration].symbol.join(symbols)]
    if "power" in flags:
        parts.append(f"p={flags['power']}")
    if flags.get("spectral_interval", 1) > 1:
        parts.append(f"every {flags['spectral_interval']} steps")
    if flags.get("integration") == "classifier_subspace":
        parts.append("in span(W)")
    if flags.get("epsilon", TrainingConfiguration.epsilon) != TrainingConfiguration.epsilon:
        parts.append(f"ε={flags['epsilon']}")
    if flags.get("gradient_to_kernel"):
        parts.append("with gradient to W")
    if flags.get("head", "linear") != "linear":
        parts.append(flags["head"].replace("_", " "))
    return " ".join(parts)


def differing_settings(configurations: Sequence[TrainingConfiguration]) -> list[str]:
    """Returns the names of the settings in which trainings differ and which affect all of them."""
    found = [settings(configuration) for configuration in configurations]
    names = [name for name in (found[0] if found else ()) if all(name in other for other in found)]
    return [name for name in names if any(other[name] != found[0][name] for other in found)]


def titles(configurations: Sequence[TrainingConfiguration]) -> list[str]:
    """Names several trainings: the loss, and for trainings with the same loss the settings in which they differ.

    Args:
        configurations: the trainings, without repetitions.

    Returns:
        A name per training. Two names are equal only if the trainings differ in nothing but data set and seed.
    """
    same_loss = collections.defaultdict(list)
    for configuration in configurations:
        same_loss[loss_key(configuration)].append(configuration)
    names = []
    for configuration in configurations:
        found = settings(configuration)
        differing = differing_settings(same_loss[loss_key(configuration)])
        names.append(
            ", ".join([loss_title(configuration), *(f"{name}={value_text(found[name])}" for name in differing)])
        )
    return names
