"""The trainings behind the numbers of Tables 3 to 6."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from dsl_tf.errors import UserError
from dsl_tf.losses import CLASSIFICATION_LOSSES, METRIC_LOSSES
from dsl_tf.runs.configuration import TrainingConfiguration

# The rows of the paper's tables name losses by their symbols.
_CLASSIFICATION = {entry.symbol: name for name, entry in CLASSIFICATION_LOSSES.items()}
_METRIC = {entry.symbol: name for name, entry in METRIC_LOSSES.items()}
_POWERS = (0.5, 0.4, 0.3, 0.2, 0.1)


def _alone(name: str) -> dict[str, Any]:
    return {
        "classification_loss": _CLASSIFICATION.get(name, "none"),
        "metric_loss": _METRIC.get(name, "none"),
    }


def _joined(classification: str, metric: str, integration: str, **flags: Any) -> dict[str, Any]:
    return {
        "classification_loss": _CLASSIFICATION[classification],
        "metric_loss": _METRIC[metric],
        "integration": integration,
        **flags,
    }


_TABLE_3 = {
    "SCE": _alone("SCE"),
    "NCA": _alone("NCA"),
    "SCE⊕NCA (ours)": _joined("SCE", "NCA", "direct_sum"),
    "i-1": _joined("SCE", "NCA", "sum"),
    "i-2": _joined("SCE", "NCA", "classifier_subspace"),
    "ii-1": _joined("SCE", "NCA", "direct_sum", head="random_basis"),
    "ii-2": _joined("SCE", "NCA", "direct_sum", head="axis_basis"),
}
_TABLE_4 = {name: _alone(name) for name in ("SCE", "BCE", "NCA", "Proto")} | {
    f"{classification}{symbol}{metric}": _joined(classification, metric, integration)
    for symbol, integration in (("+", "sum"), ("⊕", "direct_sum"))
    for classification in ("SCE", "BCE")
    for metric in ("NCA", "Proto")
}
_TABLE_6 = {
    f"SCE⊕{metric} p={power}": _joined("SCE", metric, "spectral_sum", power=power, spectral_interval=1)
    for metric in ("NCA", "Proto")
    for power in _POWERS
} | {name: _TABLE_4[name] for name in ("SCE", "NCA", "Proto", "SCE+NCA", "SCE+Proto")}

# Table 5 tests the trainings of Table 4 with another few-shot classifier.
_ROWS = {3: _TABLE_3, 4: _TABLE_4, 5: _TABLE_4, 6: _TABLE_6}
DATA_TITLES = {
    "mini_imagenet": "mini-ImageNet",
    "tiered_imagenet": "tiered-ImageNet",
    "cub": "CUB few-shot",
    "cifar_fs": "CIFAR-FS",
    "meta_inat": "meta-iNat (iNaturalist 2017)",
}
_FOUR_DATASETS = ("mini_imagenet", "tiered_imagenet", "cub", "cifar_fs")
_DATASETS = {3: ("mini_imagenet",), 4: _FOUR_DATASETS, 5: _FOUR_DATASETS, 6: ("meta_inat",)}

# The N×K to try, with N·K of Section 3.1; the first is the default. The paper reports the best, but not which it is.
BATCH_SHAPES = {
    "mini_imagenet": ((64, 8), (32, 16), (16, 32)),
    "tiered_imagenet": ((128, 4), (256, 2), (64, 8), (32, 16), (16, 32)),
    "cub": ((32, 4), (64, 2), (16, 8), (8, 16)),
    "cifar_fs": ((64, 8), (32, 16), (16, 32)),
    "meta_inat": ((128, 4), (256, 2), (64, 8), (32, 16), (16, 32)),
}

# The few-shot classifiers of the tables, and the feature transforms that each is reported on. The paper names no
# transform; its reference [20] measures on cl2. On raw features, the unary terms would dominate LaplacianShot.
FEATURE_TRANSFORMS = {"nearest_centroid": ("none", "cl2"), "laplacian_shot": ("cl2",)}


# Photographs larger than 84 pixels, out of which reference [20] cuts its crops. The others are used at their own size.
_STORED_SIZES = {"cub": 500, "meta_inat": 500}


def _base(dataset: str) -> dict[str, Any]:
    ways, shots = BATCH_SHAPES[dataset][0]
    return {
        "dataset": dataset,
        # Section 3.1.
        "epochs": 160,
        "learning_rate": 0.1,
        # From reference [20], because the paper does not specify them.
        "backbone": "resnet12_basic",
        "image_size": 84,
        **({"stored_size": _STORED_SIZES[dataset]} if dataset in _STORED_SIZES else {}),
        "crop": "resized",
        "color_jitter": 0.0,
        # Ours, docs/experiments.md.
        "ways": ways,
        "shots": shots,
        "test_classifiers": tuple(FEATURE_TRANSFORMS),
    }


# The flags that all trainings on a data set share.
BASE = {dataset: _base(dataset) for dataset in BATCH_SHAPES}


@dataclasses.dataclass(frozen=True)
class Cell:
    """A row of a table on one data set.

    Args:
        table: the number of the paper's table, 3 to 6.
        dataset: the value of `--dataset`.
        name: the row as the paper prints it, such as `"SCE⊕NCA"`.
        flags: the fields of `TrainingConfiguration` that distinguish the row from others on the data set.
    """

    table: int
    dataset: str
    name: str
    flags: dict[str, Any] = dataclasses.field(hash=False)

    @property
    def slug(self) -> str:
        """The training as a file name, such as `sce_direct_sum_nca`; cells with the same name share a run."""
        flags = self.flags
        losses = [flags[name] for name in ("classification_loss", "metric_loss") if flags[name] != "none"]
        parts = [f"_{flags.get('integration')}_".join(losses)]
        parts += [f"p{flags['power']}"] if "power" in flags else []
        parts += [flags["head"]] if "head" in flags else []
        return "_".join(parts)

    @property
    def classifier(self) -> str:
        """The few-shot classifier of the table."""
        return "laplacian_shot" if self.table == 5 else "nearest_centroid"

    @property
    def feature_transforms(self) -> tuple[str, ...]:
        """The feature transforms whose accuracies are shown beside the published ones."""
        return FEATURE_TRANSFORMS[self.classifier]


def cells(table: int | None = None, datasets: Iterable[str] | None = None) -> tuple[Cell, ...]:
    """Lists the rows of a table, data set by data set, in the paper's order.

    Args:
        table: 3, 4, 5 or 6; all of them if None.
        datasets: values of `--dataset`, where any data set is allowed; those of the table if None.

    Returns:
        A tuple of `Cell`.

    Raises:
        UserError: if the table is not one of these.
    """
    if table not in (None, *_ROWS):
        raise UserError(f"The tables of accuracies are {', '.join(map(str, _ROWS))}. Received: {table!r}.")
    return tuple(
        Cell(number, dataset, name, dict(flags))
        for number in (tuple(_ROWS) if table is None else (table,))
        for dataset in (_DATASETS[number] if datasets is None else datasets)
        for name, flags in _ROWS[number].items()
    )


def configuration(cell: Cell, seed: int = 0, output_root: str = "runs", **changes: Any) -> TrainingConfiguration:
    """Returns the configuration of the training run of a cell.

    Args:
        cell: a `Cell`.
        seed: the run's seed.
        output_root: the parent folder of the run directories.
        **changes: further fields of `TrainingConfiguration`, such as `data_dir`. They override those of the cell.

    Returns:
        A `TrainingConfiguration` whose `output_dir` is below `output_root`, named by data set, slug, N×K and seed.

    Raises:
        UserError: if a value is out of its limits.
    """
    base = BASE.get(cell.dataset, {"dataset": cell.dataset, "test_classifiers": tuple(FEATURE_TRANSFORMS)})
    run = TrainingConfiguration(**{**base, **cell.flags, "seed": seed, **changes})
    if "output_dir" in changes:
        return run
    # As in the default of --output_dir: the names of TensorFlow Datasets have colons and slashes.
    dataset = cell.dataset.replace(":", "_").replace("/", "_")
    return dataclasses.replace(
        run, output_dir=f"{output_root}/{dataset}/{cell.slug}/{run.ways}x{run.shots}/seed{run.seed}"
    )
