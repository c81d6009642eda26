"""The configuration of a training run."""

import dataclasses

from dsl_tf.evaluation.classifiers import CLASSIFIERS
from dsl_tf.runs.configuration.optimisation import OptimisationConfiguration
from dsl_tf.runs.configuration.options import (
    PRECISIONS,
    check_classifiers,
    check_devices,
    distribution_option,
    option,
    virtual_devices_option,
)


@dataclasses.dataclass(frozen=True)
class TrainingConfiguration(OptimisationConfiguration):
    """A training run. Each field is a flag of `dsl_tf train`, with its help beside it.

    Raises:
        UserError: if a value is out of its limits, or values exclude each other.
    """

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
        f"Few-shot classifiers of the final test, a list of {', '.join(CLASSIFIERS)}, or module:function for a "
        "function of your own. Their hyperparameters are chosen on val.",
        "evaluation",
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
        check_classifiers("test_classifiers", self.test_classifiers)
        check_devices(self.distribution, self.virtual_devices)
        if self.output_dir is None:
            dataset = self.dataset.replace(":", "_").replace("/", "_")
            object.__setattr__(self, "output_dir", f"runs/{dataset}_{self.loss_name}_seed{self.seed}")
