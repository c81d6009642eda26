"""What a training run and an evaluation can be asked for; the flags of the two scripts are made from these fields."""

import dataclasses
import math
from typing import Any

from dsl_tf.data.names import DATASETS, TFDS_PREFIX
from dsl_tf.errors import UserError
from dsl_tf.evaluation.accuracy import CLASSIFIERS
from dsl_tf.evaluation.laplacian_shot import DEFAULT_LAM
from dsl_tf.evaluation.transforms import FEATURE_TRANSFORMS

DISTRIBUTIONS = ("auto", "none", "mirrored", "multi_worker")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
_LARGEST_INTEGER = 2**31 - 1


def _option(
    default, text, choices=None, minimum=None, above=None, maximum=None, below=None, mathematical=True, items=None
):
    """A field with its help and its limits.

    `mathematical` says whether a run may not be resumed with another value; `items` is the type of a list's items.
    """
    limits = {"choices": choices, "minimum": minimum, "above": above, "maximum": maximum, "below": below}
    return dataclasses.field(
        default=default, metadata={**limits, "help": text, "mathematical": mathematical, "items": items}
    )


def _check_value(name, value, limits):
    def fail(expected):
        raise UserError(f"--{name} must be {expected}. Received: {value!r}.")

    # A run's flagfile must be able to hold it, in a line of UTF-8, and a path holds no NUL.
    if isinstance(value, str) and (len(value.splitlines()) > 1 or "\0" in value or not _is_utf8(value)):
        fail("one line of UTF-8 text")
    if limits["choices"] and value not in limits["choices"]:
        fail(f"one of {', '.join(limits['choices'])}")
    if isinstance(value, float) and not math.isfinite(value):
        fail("a finite number")
    # NumPy and TensorFlow take no larger seeds, and count in 32 bits in places.
    if isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
        fail(f"at most {_LARGEST_INTEGER}")
    if limits["minimum"] is not None and value < limits["minimum"]:
        fail(f"at least {limits['minimum']}")
    if limits["above"] is not None and value <= limits["above"]:
        fail(f"above {limits['above']}")
    if limits["maximum"] is not None and value > limits["maximum"]:
        fail(f"at most {limits['maximum']}")
    if limits["below"] is not None and value >= limits["below"]:
        fail(f"below {limits['below']}")


def _is_utf8(text):
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclasses.dataclass(frozen=True)
class _Checked:
    """Checks every field against its limits."""

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is None:
                continue
            if field.metadata["items"]:
                value = tuple(value)
                object.__setattr__(self, field.name, value)
                if not value and field.default:
                    raise UserError(f"--{field.name} must not be empty. Leave it out for {field.default}.")
            for item in value if field.metadata["items"] else [value]:
                _check_value(field.name, item, field.metadata)


def _check_devices(configuration):
    if configuration.virtual_devices and configuration.distribution in ("none", "multi_worker"):
        raise UserError(
            "--virtual_devices must go with --distribution=mirrored or auto. Received: "
            f"--distribution={configuration.distribution}. Leave one of them out."
        )


@dataclasses.dataclass(frozen=True)
class TrainingConfiguration(_Checked):
    """A training run. Each field is a flag of `run_train.py`; its help stands beside it.

    Raises:
        UserError: for a value out of its limits, or values that exclude each other.
    """

    dataset: str = _option("glyphs", f"Data set: one of {', '.join(DATASETS)}, or {TFDS_PREFIX}NAME.")
    data_dir: str | None = _option(None, "Folder with the data, in any format of the data set.", mathematical=False)
    class_split: str | None = _option(
        None, f"JSON file with the train, val and test classes of a {TFDS_PREFIX} data set.", mathematical=False
    )
    cache_dir: str | None = _option(
        None, "Folder for prepared data. Default: dsl_tf in the user's cache folder.", mathematical=False
    )
    allow_partial: bool = _option(
        False, "Accept a data set with fewer images than published, with a warning.", mathematical=False
    )
    val_fraction: float = _option(
        0.0, "Fraction of the training classes held out for validation where there is no val split.", minimum=0, below=1
    )
    image_size: int | None = _option(
        None, "Height and width in pixels. Default: the data set's own.", minimum=8, maximum=4096
    )
    strict: bool = _option(False, "Stop at an unreadable image instead of leaving it out.", mathematical=False)
    backbone: str = _option("resnet12", "Network from images to features.", choices=("resnet12", "resnet12_basic"))
    filters: tuple = _option(
        (64, 160, 320, 640),
        "Widths of the four blocks; the last is the feature dimension d.",
        minimum=1,
        maximum=10_000,
        items=int,
    )
    head: str = _option(
        "linear",
        "Classifier: free weights W, or W = R·ω in a fixed random or axis-aligned subspace (Table 3, ii).",
        choices=("linear", "random_basis", "axis_basis"),
    )
    classification_loss: str = _option("sce", "Classification loss, eq. (1), (2).", choices=("sce", "bce", "none"))
    metric_loss: str = _option("nca", "Metric loss, eq. (4), (3).", choices=("nca", "proto", "none"))
    integration: str = _option(
        "direct_sum",
        "How two losses are joined: eq. (6), (7), (11), or both in span(W) (Table 3, i-2).",
        choices=("sum", "direct_sum", "spectral_sum", "classifier_subspace"),
    )
    metric_weight: float = _option(1.0, "Factor of the metric loss where there are two losses.", minimum=0)
    epsilon: float = _option(1e-3, "Ridge of the projection, eq. (8).", minimum=0)
    power: float = _option(0.3, "Power p of the spectral sum, eq. (11).", minimum=0, maximum=1)
    spectral_interval: int = _option(
        1, "Steps between decompositions of W in the spectral sum; above 1, W's spectrum lags behind.", minimum=1
    )
    gradient_to_kernel: bool = _option(False, "Let the metric loss's gradient reach W through the projection.")
    ways: int = _option(64, "Classes a batch, N.", minimum=1)
    shots: int = _option(8, "Images of each class a batch, K; a batch has N·K images.", minimum=1)
    epochs: int = _option(160, "Epochs of n/(N·K) steps.", minimum=1)
    learning_rate: float = _option(0.1, "Peak learning rate.", above=0)
    warmup_epochs: float | None = _option(
        None, "Epochs of linear warm-up. Default: 1/16 of --epochs (10 of 160).", minimum=0
    )
    decay_epochs: tuple | None = _option(
        None, "Epochs at which the rate drops. Default: 1/2 and 3/4 of --epochs.", minimum=0, items=float
    )
    decay_rate: float = _option(0.1, "Factor of each drop.", above=0)
    momentum: float = _option(0.9, "Momentum of SGD.", minimum=0, maximum=1)
    weight_decay: float = _option(5e-4, "L2 coefficient, added to every weight's gradient.", minimum=0)
    crop: str = _option("pad", "Random crop: padded shift, resized box or none.", choices=("pad", "resized", "none"))
    flip: bool | None = _option(None, "Mirror at random. Default: not for glyphs; turn it off for characters.")
    color_jitter: float = _option(0.0, "Range of brightness, contrast and saturation.", minimum=0, maximum=1)
    precision: str = _option("float32", "Precision of the backbone.", choices=PRECISIONS)
    distribution: str = _option(
        "auto",
        "Devices: every visible GPU (auto), one device (none), all of this machine (mirrored), or those of several "
        "processes, told by TF_CONFIG, srun or Kubernetes (multi_worker).",
        choices=DISTRIBUTIONS,
        mathematical=False,
    )
    virtual_devices: int | None = _option(
        None, "Split the CPU into so many logical devices, to try distribution.", minimum=1, mathematical=False
    )
    seed: int = _option(0, "Seed of weights and batches.", minimum=0)
    deterministic: bool = _option(
        False,
        "Compute the same bits each time, on the same machine and versions, however often the run is interrupted. "
        "No slower on CPUs.",
        mathematical=False,
    )
    jit_compile: bool = _option(
        False, "Compile the backbone with XLA in training. On CPUs slower; measure it on your GPU.", mathematical=False
    )
    validate_every: int | None = _option(
        None, "Epochs between few-shot validations. Default: 1/10 of --epochs, at least 1.", minimum=1
    )
    validation_episodes: int = _option(1000, "Episodes of each validation.", minimum=2)
    test_ways: int = _option(5, "Ways of validation and test episodes.", minimum=2)
    test_shots: tuple = _option((1, 5), "Shots of validation and test episodes.", minimum=1, items=int)
    test_queries: int = _option(15, "Queries a way of validation and test episodes.", minimum=1)
    test_episodes: int = _option(10_000, "Episodes of the final test.", minimum=2, mathematical=False)
    test_classifiers: tuple = _option(
        ("nearest_centroid",),
        "Few-shot classifiers of the final test, a list. LaplacianShot's λ is chosen on val.",
        choices=tuple(CLASSIFIERS),
        mathematical=False,
        items=str,
    )
    log_every: int | None = _option(
        None, "Steps between lines of metrics.jsonl. Default: once an epoch.", minimum=1, mathematical=False
    )
    checkpoint_minutes: float = _option(
        10.0, "Minutes between checkpoints within an epoch; each epoch ends with one.", minimum=0, mathematical=False
    )
    output_dir: str | None = _option(
        None, "Run directory. Default: runs/ and a name made of data set, losses and seed.", mathematical=False
    )
    resume: bool = _option(True, "Go on with the run in --output_dir.", mathematical=False)

    def __post_init__(self):
        super().__post_init__()
        if self.dataset not in DATASETS and not self.dataset.startswith(TFDS_PREFIX):
            raise UserError(
                f"--dataset must be one of {', '.join(DATASETS)}, or {TFDS_PREFIX}NAME. Received: {self.dataset!r}."
            )
        _check_devices(self)
        if len(self.filters) != 4:
            raise UserError(f"--filters must be four widths. Received: {len(self.filters)}.")
        if self.classification_loss == "none" and self.metric_loss == "none":
            raise UserError("--classification_loss and --metric_loss are both none: nothing to train. Choose one.")
        if self.metric_loss != "none" and self.shots < 2:
            raise UserError(
                f"--metric_loss={self.metric_loss} compares images of one class: --shots must be at least 2. "
                f"Received: {self.shots}."
            )
        if self.output_dir is None:
            object.__setattr__(
                self,
                "output_dir",
                f"runs/{self.dataset.replace(':', '_').replace('/', '_')}_{self.loss_name}_seed{self.seed}",
            )

    @property
    def data_options(self) -> dict[str, Any]:
        """The arguments of `dsl_tf.data.open_splits`, by name."""
        names = (
            "dataset",
            "data_dir",
            "image_size",
            "strict",
            "cache_dir",
            "allow_partial",
            "class_split",
            "val_fraction",
        )
        return {name: getattr(self, name) for name in names}

    @property
    def loss_name(self) -> str:
        """The losses and their integration in a word, such as `sce_direct_sum_nca`."""
        names = [name for name in (self.classification_loss, self.metric_loss) if name != "none"]
        return f"_{self.integration}_".join(names)

    @property
    def schedule_epochs(self) -> tuple[float, tuple[float, ...]]:
        """Warm-up epochs and the epochs of the drops, given or scaled to `epochs` as 10, 80, 120 are to 160."""
        warmup = self.epochs / 16 if self.warmup_epochs is None else self.warmup_epochs
        drops = (self.epochs / 2, self.epochs * 3 / 4) if self.decay_epochs is None else self.decay_epochs
        return warmup, drops


@dataclasses.dataclass(frozen=True)
class EvaluationConfiguration(_Checked):
    """An evaluation of runs, a SavedModel or features. Each field is a flag of `run_eval.py`; its help is beside it.

    Raises:
        UserError: for a value out of its limits, or nothing to evaluate.
    """

    run_dir: tuple = _option(
        (), "Run directories that run_train.py wrote, a list; two or more are compared.", items=str
    )
    saved_model: str | None = _option(None, "Folder of a SavedModel, to be evaluated on --dataset.")
    features: tuple = _option(
        (),
        "Files of features from anywhere, a list: .npz with features [n, d] and labels [n]; class_names, mean, "
        "val_features and val_labels are used where they are there.",
        items=str,
    )
    dataset: str = _option("glyphs", "Data set for --saved_model; runs know their own.")
    data_dir: str | None = _option(None, "Folder with the data. Default: where the run had it.")
    image_size: int | None = _option(
        None, "Height and width for --saved_model. Default: the data set's own.", minimum=8, maximum=4096
    )
    split: str = _option("test", "Split to evaluate.", choices=("train", "val", "test"))
    ways: int = _option(5, "Classes an episode.", minimum=2)
    shots: tuple = _option((1, 5), "Support images a class, a list.", minimum=1, items=int)
    queries: int = _option(15, "Query images a class.", minimum=1)
    episodes: int = _option(10_000, "Episodes.", minimum=2)
    classifiers: tuple = _option(
        ("nearest_centroid",),
        "Few-shot classifiers, a list. LaplacianShot's λ is chosen on val.",
        choices=tuple(CLASSIFIERS),
        items=str,
    )
    feature_transforms: tuple | None = _option(
        None,
        "Feature transforms, a list. Default: none, l2 and, with the mean of training features, cl2.",
        choices=FEATURE_TRANSFORMS,
        items=str,
    )
    seed: int = _option(0, "Seed of the episodes.", minimum=0)
    details: bool = _option(
        False,
        "Also retrieval metrics, accuracies in W's subspace and its complement, W's spectrum, confused classes and "
        "TensorBoard's embedding projector.",
    )
    distribution: str = _option(
        "auto", "Devices that compute features and episodes, as of run_train.py.", choices=DISTRIBUTIONS
    )
    virtual_devices: int | None = _option(
        None, "Split the CPU into so many logical devices, to try distribution.", minimum=1
    )
    output_dir: str | None = _option(
        None, "Folder for evaluation.json, episodes.npz and plots. Default: evaluation in the first --run_dir, or here."
    )
    json: bool = _option(False, "Print evaluation.json instead of a table.")

    def __post_init__(self):
        super().__post_init__()
        if not (self.run_dir or self.saved_model or self.features):
            raise UserError(
                "--run_dir must be directories that run_train.py wrote; or give --saved_model or --features. "
                "Received none."
            )
        _check_devices(self)
        if self.output_dir is None:
            folder = f"{self.run_dir[0]}/evaluation" if self.run_dir else "evaluation"
            object.__setattr__(self, "output_dir", folder)


@dataclasses.dataclass(frozen=True)
class ReproductionConfiguration(_Checked):
    """Which of the paper's experiments to run. Each field is a flag of `python -m dsl_tf reproduce`.

    Raises:
        UserError: for a value out of its limits.
    """

    table: tuple = _option((4,), "Tables of the paper, a list.", minimum=3, maximum=6, items=int)
    datasets: tuple | None = _option(None, "Data sets, a list. Default: the tables' own.", items=str)
    rows: tuple | None = _option(
        None, "Rows of the tables, a list of names such as sce_direct_sum_nca. Default: all.", items=str
    )
    seeds: tuple = _option((0,), "Seeds, a list: a run for each.", minimum=0, items=int)
    batch_shapes: tuple | None = _option(
        None, "Batches N×K to try, a list such as 64x8,32x16. Default: one for each data set.", items=str
    )
    runs: str = _option("runs", "Folder of the run directories.")
    print_commands: bool = _option(False, "Print the commands that are left to run, for a scheduler, and run none.")


@dataclasses.dataclass(frozen=True)
class ReportConfiguration(_Checked):
    """A report of runs. Each field is a flag of `python -m dsl_tf report`; its help stands beside it.

    Raises:
        UserError: for a value out of its limits.
    """

    runs: tuple | None = _option(None, "Run directories, or folders that hold them at any depth, a list.", items=str)
    output_dir: str = _option("report", "Folder for report.html, report.md, report.csv and report.tex.")
    tables: tuple | None = _option(
        None, "Tables of the paper, a list. Default: those with a run.", minimum=3, maximum=6, items=int
    )
    feature_transform: str | None = _option(
        None,
        "Feature transform of the accuracies. Default: none for nearest_centroid, cl2 for laplacian_shot.",
        choices=FEATURE_TRANSFORMS,
    )

    def __post_init__(self):
        super().__post_init__()
        if not self.runs or not all(self.runs):
            raise UserError(
                "--runs must be run directories or folders that hold them, a list. "
                f"Received: {','.join(self.runs or ()) or 'none'}."
            )
        if self.tables is not None and not self.tables:
            raise UserError("--tables must not be empty. Leave it out for those with a run.")


@dataclasses.dataclass(frozen=True)
class PredictionConfiguration(_Checked):
    """A classification of images. Each field is a flag of `python -m dsl_tf predict`; its help stands beside it.

    Raises:
        UserError: for a value out of its limits.
    """

    model: str | None = _option(None, "Run directory, or the folder of a SavedModel that dsl_tf exported.")
    support_dir: str | None = _option(None, "Folder with a folder of a few images for each class.")
    images_dir: str | None = _option(None, "Folder of the images to classify, at any depth.")
    output: str = _option("predictions.csv", "CSV file to write: file, class, confidence.")
    classifier: str = _option(
        "nearest_centroid",
        "Few-shot classifier. laplacian_shot looks at all images together, best with about as many of each class.",
        choices=tuple(CLASSIFIERS),
    )
    feature_transform: str | None = _option(
        None,
        "Feature transform. Default: l2 for nearest_centroid, cl2 for laplacian_shot; cl2 needs a run directory.",
        choices=FEATURE_TRANSFORMS,
    )
    lam: float = _option(DEFAULT_LAM, "LaplacianShot's λ.", minimum=0)

    def __post_init__(self):
        super().__post_init__()
        for name in ("model", "support_dir", "images_dir", "output"):
            if not getattr(self, name):
                raise UserError(f"--{name} must be given: {self.__dataclass_fields__[name].metadata['help']}")
        if self.feature_transform is None:
            transform = "cl2" if self.classifier == "laplacian_shot" else "l2"
            object.__setattr__(self, "feature_transform", transform)
