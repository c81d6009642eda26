"""The configuration of a training run's optimisation: its batches, optimizer and learning rate."""

import dataclasses
import inspect

import keras

from dsl_tf.errors import UserError
from dsl_tf.runs.configuration.method import MethodConfiguration
from dsl_tf.runs.configuration.options import option

_SGD_LEARNING_RATE = 0.1
_MOMENTUM = 0.9
_DECAY_RATE = 0.1


def _can_be_named(kind: object) -> bool:
    """Returns whether it is a class of optimizers that works and can be made without arguments."""
    if not (isinstance(kind, type) and issubclass(kind, keras.optimizers.Optimizer)):
        return False
    if kind.__name__ == "Muon" and keras.__version__.startswith("3.12."):
        # It fails in its first step with TensorFlow.
        return False
    parameters = list(inspect.signature(kind).parameters.values())
    return all(
        parameter.default is not parameter.empty or parameter.kind is parameter.VAR_KEYWORD for parameter in parameters
    )


# Not LossScaleOptimizer and MultiOptimizer, which wrap others.
OPTIMIZERS: dict[str, type[keras.optimizers.Optimizer]] = {
    name.lower(): kind for name, kind in vars(keras.optimizers).items() if _can_be_named(kind)
}


@dataclasses.dataclass(frozen=True)
class OptimisationConfiguration(MethodConfiguration):
    """The optimisation of a training run, its network and losses, and its data.

    Raises:
        UserError: if a value is out of its limits, or values exclude each other.
    """

    ways: int = option(64, "Classes per batch, N.", "optimisation", minimum=1)
    shots: int = option(8, "Images per class in a batch, K. The batch size is ways × shots.", "optimisation", minimum=1)
    small_classes: str = option(
        "repeat",
        "What to do with training classes that have fewer than --shots images: repeat images within a batch (repeat), "
        "skip the classes with a warning (skip), or stop (error).",
        "optimisation",
        choices=("repeat", "skip", "error"),
    )
    epochs: int = option(
        160,
        "Number of epochs. One epoch is (training images) / (ways × shots) steps.",
        "optimisation",
        minimum=1,
    )
    optimizer: str = option(
        "sgd",
        "Optimizer by its name in Keras: sgd, adamw, lion or any other of keras.optimizers that needs only a learning "
        "rate. sgd uses --momentum; the others keep Keras's defaults.",
        "optimisation",
    )
    learning_rate: float | None = option(
        None,
        "Learning rate after the warm-up. By default 0.1 for sgd, and Keras's default for other optimizers.",
        "optimisation",
        above=0,
    )
    backbone_learning_rate_factor: float = option(
        1.0,
        "Factor of the learning rate of the backbone, such as 0.1 to keep more of pretrained weights. The classifier "
        "and the weights of a loss learn at --learning_rate. It scales Keras's decoupled weight decay of the backbone "
        "too.",
        "optimisation",
        above=0,
    )
    schedule: str = option(
        "step",
        "Learning rate after the warm-up: it drops at --decay_epochs (step), falls to 0 along a cosine until the last "
        "epoch (cosine), or stays (constant).",
        "optimisation",
        choices=("step", "cosine", "constant"),
    )
    warmup_epochs: float | None = option(
        None,
        "Epochs in which the learning rate rises linearly from 0. By default 1/16 of --epochs (10 of 160).",
        "optimisation",
        minimum=0,
    )
    decay_epochs: tuple | None = option(
        None,
        "Epochs at which the learning rate drops with --schedule=step, a list. By default 1/2 and 3/4 of --epochs (80 "
        "and 120 of 160).",
        "optimisation",
        minimum=0,
        items=float,
    )
    decay_rate: float = option(
        _DECAY_RATE, "Factor by which the learning rate is multiplied at each drop.", "optimisation", above=0
    )
    momentum: float = option(_MOMENTUM, "Momentum of sgd.", "optimisation", minimum=0, maximum=1)
    weight_decay: float = option(
        5e-4,
        "Weight decay of all weights. sgd adds decay × weight to the gradients, as an L2 penalty; the other optimizers "
        "subtract learning rate × decay × weight from the weights (decoupled).",
        "optimisation",
        minimum=0,
    )
    clip_norm: float | None = option(
        None,
        "Largest norm of the whole gradient of a batch, over all devices; a longer gradient is scaled down to it. By "
        "default gradients are not clipped.",
        "optimisation",
        above=0,
    )
    ema_momentum: float | None = option(
        None,
        "Momentum of an exponential moving average of the weights, such as 0.999, updated at each step (Keras's "
        "use_ema). Validation, export and test then use the average. By default there is none.",
        "optimisation",
        minimum=0,
        below=1,
    )
    early_stopping: int | None = option(
        None,
        "End the training after this many validations in a row without a better mean accuracy. By default it runs for "
        "all --epochs.",
        "optimisation",
        minimum=1,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.metric_loss != "none" and self.shots < 2:
            raise UserError(
                f"--metric_loss={self.metric_loss} compares images of one class: --shots must be at least 2. "
                f"Received: {self.shots}."
            )
        # Keras takes its names in any case.
        object.__setattr__(self, "optimizer", self.optimizer.lower())
        if self.optimizer not in OPTIMIZERS:
            raise UserError(f"--optimizer must be one of {', '.join(OPTIMIZERS)}. Received: {self.optimizer!r}.")
        if self.optimizer != "sgd" and self.momentum != _MOMENTUM:
            raise UserError(
                f"--momentum must be used with --optimizer=sgd. Received: --momentum={self.momentum} with "
                f"--optimizer={self.optimizer}. Omit --momentum."
            )
        if self.schedule != "step":
            self._check_no_drops()
        if self.learning_rate is None:
            object.__setattr__(self, "learning_rate", _default_learning_rate(self.optimizer))

    def _check_no_drops(self) -> None:
        drops = {"decay_epochs": self.decay_epochs, "decay_rate": self.decay_rate}
        for name, default in (("decay_epochs", None), ("decay_rate", _DECAY_RATE)):
            if drops[name] != default:
                raise UserError(
                    f"--{name} must be used with --schedule=step. Received: --schedule={self.schedule}. Omit --{name}."
                )

    @property
    def schedule_epochs(self) -> tuple[float, tuple[float, ...]]:
        """Warm-up epochs and the epochs of the drops; by default scaled to `epochs` as 10, 80 and 120 are to 160."""
        warmup = self.epochs / 16 if self.warmup_epochs is None else self.warmup_epochs
        drops = (self.epochs / 2, self.epochs * 3 / 4) if self.decay_epochs is None else self.decay_epochs
        return warmup, drops if self.schedule == "step" else ()


def _default_learning_rate(optimizer: str) -> float:
    if optimizer == "sgd":
        return _SGD_LEARNING_RATE
    return inspect.signature(OPTIMIZERS[optimizer]).parameters["learning_rate"].default
