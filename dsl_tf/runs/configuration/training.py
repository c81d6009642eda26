"""The configuration of a training run."""

import dataclasses

from dsl_tf.errors import UserError
from dsl_tf.evaluation.classifiers import CLASSIFIERS
from dsl_tf.losses import CLASSIFICATION_LOSSES, INTEGRATIONS, METRIC_LOSSES
from dsl_tf.models.applications import APPLICATIONS
from dsl_tf.runs.configuration.data import DataConfiguration
from dsl_tf.runs.configuration.options import (
    PRECISIONS,
    check_devices,
    distribution_option,
    option,
    virtual_devices_option,
)

# The backbones that --filters shapes.
RESNETS = ("resnet12", "resnet12_basic")


@dataclasses.dataclass(frozen=True)
class TrainingConfiguration(DataConfiguration):
    """A training run. Each field is a flag of `dsl_tf train`, with its help beside it.

    Raises:
        UserError: if a value is out of its limits, or values exclude each other.
    """

    backbone: str = option(
        "resnet12",
        "Network from images to features: resnet12; resnet12_basic, the variant that the paper's reference [20] "
        "trained; or a network of keras.applications such as MobileNetV2, with its own preprocessing.",
        "model",
        choices=(*RESNETS, *APPLICATIONS),
    )
    weights: str | None = option(
        None,
        "Weights from which a network of keras.applications starts: imagenet, which Keras downloads once, or a file of "
        "weights without the top layers. By default random weights.",
        "model",
        path=True,
    )
    filters: tuple = option(
        (64, 160, 320, 640),
        "Channels of the four blocks of resnet12 or resnet12_basic, a list. The last is the feature dimension d.",
        "model",
        minimum=1,
        maximum=10_000,
        items=int,
        repeats=True,
    )
    head: str = option(
        "linear",
        "Linear classifier of the training: free weights W (linear), or W = R·ω with a fixed random or axis-aligned "
        "R (Table 3, ii).",
        "model",
        choices=("linear", "random_basis", "axis_basis"),
    )
    classification_loss: str = option(
        "sce",
        "Classification loss: softmax cross-entropy (sce, eq. 1), binary cross-entropy (bce, eq. 2) or none.",
        "losses",
        choices=lambda: (*CLASSIFICATION_LOSSES, "none"),
    )
    metric_loss: str = option(
        "nca",
        "Metric loss: neighbourhood components (nca, eq. 4), prototypes (proto, eq. 3) or none.",
        "losses",
        choices=lambda: (*METRIC_LOSSES, "none"),
    )
    integration: str = option(
        "direct_sum",
        "How to join the two losses: plain sum (eq. 6), direct_sum (eq. 7), spectral_sum (eq. 11), or both in the "
        "span of W (classifier_subspace; Table 3, i-2).",
        "losses",
        choices=tuple(INTEGRATIONS),
    )
    metric_weight: float = option(1.0, "Weight of the metric loss if there are two losses.", "losses", minimum=0)
    epsilon: float = option(1e-3, "Ridge ε of the direct sum's projection (eq. 8).", "losses", minimum=0)
    power: float = option(0.3, "Power p of the spectral sum (eq. 11).", "losses", minimum=0, maximum=1)
    spectral_interval: int | None = option(
        None,
        "Steps between two decompositions of W in the spectral sum. Above 1, training is faster and uses an older "
        "spectrum. By default 10 on a GPU, where a decomposition is slow beside a step, and 1 elsewhere.",
        "losses",
        minimum=1,
    )
    gradient_to_kernel: bool = option(
        False, "Let the gradient of the metric loss reach W through the projection.", "losses"
    )
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
    learning_rate: float = option(0.1, "Learning rate of SGD after the warm-up.", "optimisation", above=0)
    warmup_epochs: float | None = option(
        None,
        "Epochs in which the learning rate rises linearly from 0. By default 1/16 of --epochs (10 of 160).",
        "optimisation",
        minimum=0,
    )
    decay_epochs: tuple | None = option(
        None,
        "Epochs at which the learning rate drops, a list. By default 1/2 and 3/4 of --epochs (80 and 120 of 160).",
        "optimisation",
        minimum=0,
        items=float,
    )
    decay_rate: float = option(
        0.1, "Factor by which the learning rate is multiplied at each drop.", "optimisation", above=0
    )
    momentum: float = option(0.9, "Momentum of SGD.", "optimisation", minimum=0, maximum=1)
    weight_decay: float = option(
        5e-4, "Coefficient of the L2 penalty on all weights, added to their gradients.", "optimisation", minimum=0
    )
    validate_every: int | None = option(
        None,
        "Epochs between two few-shot validations. By default 1/10 of --epochs, at least 1.",
        "evaluation",
        minimum=1,
    )
    validation_episodes: int = option(1000, "Number of episodes of each validation.", "evaluation", minimum=2)
    test_ways: int = option(5, "Classes per episode of validation and test.", "evaluation", minimum=2)
    test_shots: tuple = option(
        (1, 5),
        "Support images per class in validation and test, a list.",
        "evaluation",
        minimum=1,
        items=int,
    )
    test_queries: int = option(15, "Query images per class in validation and test.", "evaluation", minimum=1)
    test_episodes: int = option(
        10_000, "Number of episodes of the final test.", "evaluation", minimum=2, mathematical=False
    )
    test_classifiers: tuple = option(
        ("nearest_centroid",),
        f"Few-shot classifiers of the final test, a list of {', '.join(CLASSIFIERS)}. Their hyperparameters are chosen "
        "on val.",
        "evaluation",
        choices=tuple(CLASSIFIERS),
        mathematical=False,
        items=str,
    )
    precision: str = option(
        "float32",
        "Precision of the backbone. The losses are computed in float32 or better in any case.",
        "devices",
        choices=PRECISIONS,
    )
    tensor_float_32: bool = option(
        True,
        "With --precision=float32, let GPUs from Ampere on compute the backbone's convolutions in TF32, with 10 bits "
        "of mantissa, as TensorFlow does by default. The losses never use it.",
        "devices",
    )
    distribution: str = distribution_option(
        "Devices to train on: every visible GPU (auto), one device (none), all devices of this machine (mirrored), or "
        "those of several processes that srun or TF_CONFIG describes (multi_worker)."
    )
    virtual_devices: int | None = virtual_devices_option()
    deterministic: bool = option(
        False,
        "Compute the same bits in every run on the same machine and versions, however often it is interrupted.",
        "devices",
        mathematical=False,
    )
    jit_compile: bool = option(
        False,
        "Compile the backbone's training with XLA. This is slower on CPUs; measure it on your GPU.",
        "devices",
        mathematical=False,
    )
    output_dir: str | None = option(
        None,
        "Run directory: weights, metrics, results and the flagfile. By default runs/ and a name made of data set, "
        "losses and seed.",
        "the run",
        mathematical=False,
        path=True,
    )
    resume: bool = option(
        True,
        "Resume the run in --output_dir from its last checkpoint. With --noresume an existing run is an error.",
        "the run",
        mathematical=False,
    )
    extend: bool = option(
        False,
        "Train the run in --output_dir, finished or not, for more epochs: --epochs may be higher than before. The "
        "default warm-up and drops of the learning rate then follow the new number.",
        "the run",
        mathematical=False,
    )
    seed: int = option(0, "Seed of initial weights, batches and episodes.", "the run", minimum=0)
    log_every: int | None = option(
        None,
        "Steps between two lines of metrics.jsonl. By default one line per epoch.",
        "the run",
        minimum=1,
        mathematical=False,
    )
    checkpoint_minutes: float = option(
        10.0,
        "Minutes between two checkpoints within an epoch. Each epoch ends with a checkpoint too.",
        "the run",
        minimum=0,
        mathematical=False,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_devices(self.distribution, self.virtual_devices)
        if len(self.filters) != 4:
            raise UserError(f"--filters must be four numbers of channels. Received: {len(self.filters)}.")
        if self.weights is not None and self.backbone in RESNETS:
            raise UserError(
                "--weights must be used with a network of keras.applications, such as --backbone=MobileNetV2. "
                f"Received: --weights={self.weights} with --backbone={self.backbone}. Omit --weights."
            )
        if self.classification_loss == "none" and self.metric_loss == "none":
            raise UserError("--classification_loss and --metric_loss are both none: nothing to train. Choose one.")
        if self.metric_loss != "none" and self.shots < 2:
            raise UserError(
                f"--metric_loss={self.metric_loss} compares images of one class: --shots must be at least 2. "
                f"Received: {self.shots}."
            )
        if self.output_dir is None:
            dataset = self.dataset.replace(":", "_").replace("/", "_")
            object.__setattr__(self, "output_dir", f"runs/{dataset}_{self.loss_name}_seed{self.seed}")

    @property
    def loss_name(self) -> str:
        """The losses and their integration as one name, such as `sce_direct_sum_nca`."""
        names = [name for name in (self.classification_loss, self.metric_loss) if name != "none"]
        return f"_{self.integration}_".join(names)

    @property
    def schedule_epochs(self) -> tuple[float, tuple[float, ...]]:
        """Warm-up epochs and the epochs of the drops; by default scaled to `epochs` as 10, 80 and 120 are to 160."""
        warmup = self.epochs / 16 if self.warmup_epochs is None else self.warmup_epochs
        drops = (self.epochs / 2, self.epochs * 3 / 4) if self.decay_epochs is None else self.decay_epochs
        return warmup, drops
