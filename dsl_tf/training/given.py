"""What a caller of `train` gives in place of what the flags describe: a backbone, a loss, an optimizer, callbacks."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from dsl_tf.errors import UserError
from dsl_tf.losses.reduction import TermLoss
from dsl_tf.models.hub import check_hub_preset
from dsl_tf.runs.configuration import TrainingConfiguration
from dsl_tf.training.clipping import clips
from dsl_tf.training.optimizer import single_optimizers

LossFunction = Callable[[keras.layers.Layer | None], TermLoss]


@dataclasses.dataclass(frozen=True)
class Given:
    """The arguments of `train` that are Python objects; None for those that the flags describe.

    Raises:
        UserError: if one is of a wrong type.
    """

    backbone: keras.Model | None = None
    loss: LossFunction | None = None
    optimizer: keras.optimizers.Optimizer | None = None
    callbacks: Sequence[keras.callbacks.Callback] = ()

    def __post_init__(self) -> None:
        if self.loss is not None and (not callable(self.loss) or isinstance(self.loss, type | keras.losses.Loss)):
            raise UserError(
                "`loss` must be a function of the classifier that returns a loss of dsl_tf.losses, such as "
                f"lambda classifier: DirectSumLoss(classifier). Received: {self.loss!r}."
            )
        if self.optimizer is not None and not isinstance(self.optimizer, keras.optimizers.Optimizer):
            raise UserError(
                "`optimizer` must be a Keras optimizer, such as keras.optimizers.AdamW(1e-3). Received: "
                f"{self.optimizer!r}."
            )
        listed = isinstance(self.callbacks, list | tuple)
        wrong = [item for item in self.callbacks if not isinstance(item, keras.callbacks.Callback)] if listed else []
        if not listed or wrong:
            found = wrong[0] if wrong else self.callbacks
            raise UserError(f"`callbacks` must be a list of keras.callbacks.Callback. Received: {found!r}.")

    def check(self, configuration: TrainingConfiguration, replicas: int) -> None:
        """Checks that the flags do not describe what was given otherwise.

        Args:
            configuration: the `TrainingConfiguration`.
            replicas: the number of devices.

        Raises:
            UserError: if a flag would have no effect, the optimizer cannot run on these devices, or the backbone is a
                preset that KerasHub does not know.
        """
        if self.optimizer is not None:
            flags = ("optimizer", "schedule", "clip_norm", "ema_momentum", "backbone_learning_rate_factor")
            _check_defaults("optimizer", configuration, flags)
            if replicas > 1:
                _check_for_several_devices(single_optimizers(self.optimizer))
        if self.backbone is None and configuration.uses_hub:
            try:
                check_hub_preset(configuration.backbone)
            except ValueError as error:
                raise UserError(f"--backbone={configuration.backbone}: {error}.") from None
        if self.loss is not None:
            _check_defaults("loss", configuration, ("label_smoothing",))

    def description(self, loss: TermLoss, optimizer: keras.optimizers.Optimizer) -> dict[str, Any]:
        """Returns what `results.json` records of a loss and an optimizer that were given."""
        return {
            **({} if self.loss is None else {"loss": _description(loss)}),
            **({} if self.optimizer is None else {"optimizer": _description(optimizer)}),
        }


def _check_defaults(argument: str, configuration: TrainingConfiguration, names: tuple[str, ...]) -> None:
    for field in dataclasses.fields(configuration):
        value = getattr(configuration, field.name)
        if field.name in names and value != field.default:
            raise UserError(
                f"`{argument}` takes the place of --{field.name}. Received: both, with --{field.name}={value}. Omit "
                f"one of them, and configure `{argument}` itself."
            )


def _check_for_several_devices(optimizers: list[keras.optimizers.Optimizer]) -> None:
    for optimizer in optimizers:
        if optimizer.use_ema and optimizer.ema_overwrite_frequency:
            raise UserError(
                "`optimizer` on several devices must have no ema_overwrite_frequency, which Keras cannot apply there. "
                f"Received: {optimizer.ema_overwrite_frequency}. Omit it: the averaged weights are validated and "
                "exported in any case."
            )
        if optimizer.gradient_accumulation_steps:
            raise UserError(
                "`optimizer` on several devices must have no gradient_accumulation_steps, which Keras cannot apply "
                f"there. Received: {optimizer.gradient_accumulation_steps}. Omit it, or use one device."
            )
        if len(optimizers) > 1 and clips(optimizer):
            raise UserError(
                "`optimizer` on several devices must clip all gradients or none. Received: a MultiOptimizer whose "
                f"{type(optimizer).__name__} clips. Omit that, or use one device."
            )


def _description(thing: Any) -> dict[str, Any]:
    """Returns the class of a loss or an optimizer, and its configuration if that can be written as JSON."""
    described = {"class": type(thing).__name__}
    try:
        config = keras.saving.serialize_keras_object(thing)["config"]
        json.dumps(config, allow_nan=False)
    # Whatever a class of the user's own may raise.
    except Exception:
        return described
    return {**described, "config": config}


def own_loss(function: LossFunction, classifier: keras.layers.Layer | None) -> TermLoss:
    """Makes the loss that a caller gave, for a classifier.

    Args:
        function: of the classifier to the loss.
        classifier: a built classifier, or None.

    Raises:
        UserError: if the result is no loss of this package, or not one of this classifier.
    """
    loss = function(classifier)
    if not isinstance(loss, TermLoss):
        raise UserError(
            "`loss` must return a loss of dsl_tf.losses or a subclass of one, such as DirectSumLoss(classifier, "
            f"metric=...), which takes any Keras loss. Received: {type(loss).__name__}."
        )
    if getattr(loss, "classifier", None) is not classifier:
        expected = "the classifier that it is called with" if classifier else "no classifier"
        advice = "a metric loss alone" if classifier else "a loss with a classifier"
        flag = "--classification_loss=none" if classifier else "another --classification_loss than none"
        raise UserError(
            f"`loss` must return a loss of {expected} (its attribute `classifier`). Received: {type(loss).__name__} "
            f"with {getattr(loss, 'classifier', None)!r}. For {advice}, choose {flag}."
        )
    return loss


def loss_weights(loss: TermLoss) -> list[keras.Variable]:
    """Returns the weights that a loss itself learns, such as proxies of classes."""
    return list(getattr(loss, "trainable_variables", ()))


def copy_loss_weights(source: TermLoss, target: TermLoss) -> None:
    """Copies the weights that a loss itself learns to the same loss on the devices of a strategy.

    Raises:
        UserError: if the weights of the second one are not on all devices of the current strategy.
    """
    weights = loss_weights(target)
    for old, new in zip(loss_weights(source), weights, strict=True):
        several = tf.distribute.get_strategy().num_replicas_in_sync > 1
        if several and not isinstance(new.value, tf.distribute.DistributedValues):
            raise UserError(
                "`loss` must make its weights when it is called, so that every device gets them. Received: "
                f"{new.path!r}, which was made before. Create the loss inside the function, or train with "
                "--distribution=none."
            )
        new.assign(old.numpy())


def copied_optimizer(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Returns a new optimizer of the same kind, with the same schedule, that has not seen any weight.

    Raises:
        UserError: if the optimizer does not describe itself in `get_config`.
    """
    try:
        config = optimizer.get_config()
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            del config["inner_optimizer"]
            return type(optimizer)(copied_optimizer(optimizer.inner_optimizer), **config)
        # A schedule holds no state, and one of the user's own may not be serialisable.
        if not isinstance(optimizer._learning_rate, keras.Variable):
            config["learning_rate"] = optimizer._learning_rate
        copy = type(optimizer).from_config(config)
    except (NotImplementedError, TypeError, ValueError) as error:
        raise UserError(
            "`optimizer` must describe itself and its schedule in `get_config`, as Keras's own do. Received: "
            f"{type(optimizer).__name__} ({' '.join(str(error).split())[:200]})."
        ) from None
    # What `exclude_from_weight_decay` set is no part of the configuration.
    for name in ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern"):
        if hasattr(optimizer, name):
            setattr(copy, name, getattr(optimizer, name))
    return copy
