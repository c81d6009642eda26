"""The configuration of a training run's network and losses."""

import dataclasses
import pathlib
import re

from dsl_tf.errors import UserError
from dsl_tf.losses import CLASSIFICATION_LOSSES, INTEGRATIONS, METRIC_LOSSES
from dsl_tf.models.applications import APPLICATIONS
from dsl_tf.runs.configuration.data import DataConfiguration
from dsl_tf.runs.configuration.options import option

# The backbones that --filters shapes.
RESNETS = ("resnet12", "resnet12_basic")


@dataclasses.dataclass(frozen=True)
class MethodConfiguration(DataConfiguration):
    """The network and the losses of a training run, and its data.

    Raises:
        UserError: if a value is out of its limits, or values exclude each other.
    """

    backbone: str = option(
        "resnet12",
        "Network from images to features: resnet12; resnet12_basic, the variant that the paper's reference [20] "
        "trained; a network of keras.applications by its name there, such as MobileNetV2, with its own preprocessing; "
        "or, if KerasHub is installed, one of its presets such as resnet_18_imagenet, hf://user/model or ./folder, "
        "with its own weights and preprocessing.",
        "model",
    )
    weights: str | None = option(
        None,
        "Weights from which a network of keras.applications starts: imagenet, which Keras downloads once, or a file of "
        "weights without the top layers. By default random weights.",
        "model",
        path=True,
    )
    init_from: str | None = option(
        None,
        "Trained weights to start from: a run directory, a .keras file or a SavedModel's folder with the same network. "
        "From a run, W is taken too for the classes of the same name. By default random weights, or --weights.",
        "model",
        path=True,
    )
    freeze_until: str | None = option(
        None,
        "Name of the last layer of the backbone to freeze. It and all layers before it keep their weights, and their "
        "batch normalisation its statistics. By default nothing is frozen.",
        "model",
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
    label_smoothing: float = option(
        0.0,
        "Fraction of each label that softmax cross-entropy spreads evenly over all classes.",
        "losses",
        minimum=0,
        below=1,
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

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.filters) != 4:
            raise UserError(f"--filters must be four numbers of channels. Received: {len(self.filters)}.")
        if not (self.backbone in (*RESNETS, *APPLICATIONS) or _may_be_a_preset(self.backbone)):
            raise UserError(
                f"--backbone must be one of {', '.join((*RESNETS, *APPLICATIONS))}, or a preset of KerasHub such as "
                f"resnet_18_imagenet, hf://user/model or ./folder. Received: {self.backbone!r}."
            )
        if self.weights is not None and self.backbone not in APPLICATIONS:
            raise UserError(
                "--weights must be used with a network of keras.applications, such as --backbone=MobileNetV2. "
                f"Received: --weights={self.weights} with --backbone={self.backbone}. Omit --weights."
            )
        if self.weights is not None and self.init_from is not None:
            raise UserError(
                f"--init_from and --weights exclude each other. Received: --init_from={self.init_from} and "
                f"--weights={self.weights}. Omit one of them."
            )
        if self.classification_loss == "none" and self.metric_loss == "none":
            raise UserError("--classification_loss and --metric_loss are both none: nothing to train. Choose one.")
        if self.label_smoothing and self.classification_loss != "sce":
            raise UserError(
                "--label_smoothing must be used with --classification_loss=sce. Received: "
                f"--label_smoothing={self.label_smoothing} with --classification_loss={self.classification_loss}. "
                "Omit --label_smoothing."
            )

    @property
    def backbone_name(self) -> str:
        """The name of the backbone's Keras model, in lower case as Keras names its own."""
        return re.sub(r"[^a-z0-9_.-]", "_", pathlib.PurePath(self.backbone).name.lower())

    @property
    def uses_hub(self) -> bool:
        """Whether the backbone is a preset of KerasHub."""
        return self.backbone not in (*RESNETS, *APPLICATIONS)

    @property
    def loss_name(self) -> str:
        """The losses and their integration as one name, such as `sce_direct_sum_nca`."""
        names = [name for name in (self.classification_loss, self.metric_loss) if name != "none"]
        return f"_{self.integration}_".join(names)


def _may_be_a_preset(name: str) -> bool:
    """Returns whether a name is of the kind that KerasHub's presets have, and the other networks do not."""
    return "_" in name or "/" in name
