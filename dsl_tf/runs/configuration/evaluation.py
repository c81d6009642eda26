"""The configuration of an evaluation."""

import dataclasses

from dsl_tf.errors import UserError
from dsl_tf.evaluation.classifiers import CLASSIFIERS
from dsl_tf.evaluation.transforms import FEATURE_TRANSFORMS
from dsl_tf.runs.configuration.options import (
    Checked,
    check_classifiers,
    check_devices,
    distribution_option,
    option,
    virtual_devices_option,
)

# What has no effect if episodes are varied, and if they come from a file.
_OF_EQUAL_EPISODES = ("ways", "shots", "queries", "query_concentration")
_OF_DRAWN_EPISODES = (*_OF_EQUAL_EPISODES, "varied_episodes", "class_groups", "episodes", "seed")


@dataclasses.dataclass(frozen=True)
class EvaluationConfiguration(Checked):
    """An evaluation of runs, a SavedModel or features. Each field is a flag of `dsl_tf evaluate`.

    Raises:
        UserError: if a value is out of its limits, or there is nothing to evaluate.
    """

    run_dir: tuple = option(
        (), "Run directories of finished trainings, a list. Two or more are compared.", "the run", items=str, path=True
    )
    saved_model: str | None = option(None, "Folder of a SavedModel to evaluate on --dataset.", "the run", path=True)
    features: tuple = option(
        (),
        "Files of features computed anywhere, a list: .npz, .npy, .csv, .parquet, .arrow, .tfrecord, or the folder of "
        "a saved Hugging Face dataset. An .npz has features [n, d] and labels [n]; the arrays class_names, mean, "
        "val_features, val_labels and files are used if present.",
        "the run",
        items=str,
        path=True,
    )
    output_dir: str | None = option(
        None,
        "Folder in which the evaluation gets a folder of its own, named by what it measured, for evaluation.json, "
        "episodes.npz and plots. By default evaluations in --run_dir; in the working directory if several runs are "
        "compared or there is no run.",
        "the run",
        path=True,
    )
    json: bool = option(False, "Print the evaluation as JSON instead of a table.", "the run")
    dataset: str = option("glyphs", "Data set for --saved_model. Runs record their own.", "data")
    data_dir: str | None = option(
        None, "Folder that holds the data. By default the one of the training.", "data", path=True
    )
    image_size: int | None = option(
        None,
        "Height and width in pixels for --saved_model. By default those that the model was exported with.",
        "data",
        minimum=8,
        maximum=4096,
    )
    split: str = option("test", "Split to evaluate.", "data", choices=("train", "val", "test"))
    ways: int = option(5, "Classes per episode.", "evaluation", minimum=2)
    shots: tuple = option((1, 5), "Support images per class, a list.", "evaluation", minimum=1, items=int)
    queries: int = option(15, "Query images per class.", "evaluation", minimum=1)
    query_concentration: float | None = option(
        None,
        "Draw unequal numbers of query images per class, on average --queries, from a Dirichlet distribution with this "
        "concentration, such as 2; the smaller, the more unequal. By default the numbers are equal.",
        "evaluation",
        minimum=1e-3,
        maximum=1e6,
    )
    varied_episodes: bool = option(
        False,
        "Draw the numbers of classes and of images per class as Meta-Dataset does: 5 to 50 classes, on average more "
        "support images of larger classes (at most 500 in all), and at most 10 query images per class. --ways, --shots "
        "and --queries keep their defaults, which have no effect.",
        "evaluation",
    )
    class_groups: str | None = option(
        None,
        "A csv file with the header class,group. The classes of an episode are then of one group, such as a "
        "super-class; groups with fewer classes than an episode has are skipped.",
        "evaluation",
        path=True,
    )
    episodes_file: str | None = option(
        None,
        "A file of episodes to answer instead of drawing them, for example those of other code: per line a JSON object "
        '{"support": {class: [image, ...], ...}, "query": {class: [image, ...], ...}}, with images by file name or by '
        "position from 0. Other flags about episodes keep their defaults, which have no effect.",
        "evaluation",
        path=True,
    )
    write_episodes: bool = option(
        False, "Also write the episodes, episodes_….jsonl, as --episodes_file reads them.", "evaluation"
    )
    episodes: int = option(
        10_000,
        "Number of episodes. The 95% confidence half-width shrinks with its square root.",
        "evaluation",
        minimum=2,
    )
    classifiers: tuple = option(
        ("nearest_centroid",),
        f"Few-shot classifiers, a list of {', '.join(CLASSIFIERS)}, or module:function for a function of your own. "
        "Their hyperparameters are chosen on val.",
        "evaluation",
        items=str,
    )
    feature_transforms: tuple | None = option(
        None,
        "Feature transforms, a list. By default none, l2 and, if the mean of the training features is known, cl2.",
        "evaluation",
        choices=FEATURE_TRANSFORMS,
        items=str,
    )
    seed: int = option(0, "Seed of the episodes.", "evaluation", minimum=0)
    details: bool = option(
        False,
        "Also compute retrieval metrics, accuracies in the span of W and in its complement, the spectrum of W, "
        "confused classes and TensorBoard's embedding projector.",
        "evaluation",
    )
    distribution: str = distribution_option(
        "Devices for features and episodes: every visible GPU (auto), one device (none), all devices of this machine "
        "(mirrored), or those of several processes that srun or TF_CONFIG describes (multi_worker)."
    )
    virtual_devices: int | None = virtual_devices_option()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.run_dir or self.saved_model or self.features):
            raise UserError(
                "--run_dir must name the run directory of a finished training; or give --saved_model or --features. "
                "Received none."
            )
        check_classifiers("classifiers", self.classifiers)
        self._check_episodes()
        check_devices(self.distribution, self.virtual_devices)
        if self.output_dir is None:
            # A comparison does not belong to a single run.
            alone = len(self.run_dir) == 1 and not self.saved_model and not self.features
            folder = f"{self.run_dir[0]}/evaluations" if alone else "evaluations"
            object.__setattr__(self, "output_dir", folder)

    def _check_episodes(self) -> None:
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        for flag, without in (("varied_episodes", _OF_EQUAL_EPISODES), ("episodes_file", _OF_DRAWN_EPISODES)):
            given = [f"--{name}" for name in without if getattr(self, name) != defaults[name]]
            if getattr(self, flag) and given:
                raise UserError(
                    f"--{flag} chooses the episodes alone. Received: {', '.join(given)} too. Omit one of both."
                )
        unequal = [f"--{flag}" for flag in ("query_concentration", "varied_episodes") if getattr(self, flag)]
        if unequal and self.details:
            raise UserError(f"--details needs equal numbers of queries. Received: {unequal[0]}. Omit one of them.")
