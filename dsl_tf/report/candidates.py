"""Runs that may be averaged, and the best of several batch shapes."""

import dataclasses
import os
import statistics

from dsl_tf.runs.configuration import TrainingConfiguration

_LOSS_FLAGS = (
    "classification_loss",
    "metric_loss",
    "integration",
    "head",
    "power",
    "spectral_interval",
    "epsilon",
    "gradient_to_kernel",
)
_NAMES = {"sce": "SCE", "bce": "BCE", "nca": "NCA", "proto": "Proto"}
_SYMBOLS = {"sum": "+", "direct_sum": "⊕", "spectral_sum": "⊕", "classifier_subspace": "+"}
# The paper's protocol, preferred where a run was evaluated by several.
_WAYS, _QUERIES = 5, 15


def loss_key(configuration):
    """Returns the flags that tell a training's loss, a tuple; those without effect on it are left out."""
    losses = (configuration.classification_loss, configuration.metric_loss)
    integration = configuration.integration
    key = [*losses]
    if losses[0] != "none":
        key.append(configuration.head)
    if "none" not in losses:
        key.append(integration)
        if integration == "spectral_sum":
            key += [configuration.power, configuration.spectral_interval]
        elif integration != "sum":
            key.append(configuration.epsilon)
        if integration != "sum":
            key.append(configuration.gradient_to_kernel)
    return tuple(key)


def cell_key(cell):
    """Returns the `loss_key` of the runs that belong to a `Cell`."""
    return loss_key(TrainingConfiguration(**cell.flags))


def loss_title(configuration):
    """Names a run's loss as the paper's tables do, with what sets it apart, such as `"SCE⊕NCA p=0.3"`."""
    integration, both = configuration.integration, "none" not in loss_key(configuration)[:2]
    losses = [_NAMES[name] for name in (configuration.classification_loss, configuration.metric_loss) if name != "none"]
    parts = [_SYMBOLS[integration].join(losses)]
    if both and integration == "spectral_sum":
        parts.append(f"p={configuration.power}")
        if configuration.spectral_interval > 1:
            parts.append(f"every {configuration.spectral_interval} steps")
    if both and integration == "classifier_subspace":
        parts.append("in span(W)")
    if both and integration not in ("sum", "spectral_sum") and configuration.epsilon != TrainingConfiguration.epsilon:
        parts.append(f"ε={configuration.epsilon}")
    if both and integration != "sum" and configuration.gradient_to_kernel:
        parts.append("with gradient to W")
    if configuration.classification_loss != "none" and configuration.head != "linear":
        parts.append(configuration.head.replace("_", " "))
    return " ".join(parts)


def data_key(run):
    """Returns what makes two runs' data the same: a value of `--dataset`, with the folder for `folder`."""
    if run.results and run.results.get("source") == "arrays":
        # Whatever its --dataset says: Python passed other data.
        return "arrays"
    configuration = run.configuration
    if configuration.dataset == "folder":
        return f"folder:{os.path.normpath(configuration.data_dir or '.')}"
    return configuration.dataset


def accuracy_entries(run, classifier, feature_transform):
    """Returns a run's accuracies on its test split by a classifier and a feature transform, a list of dicts."""
    return [
        entry
        for entry in (run.results or {}).get("accuracies", ())
        if (entry["split"], entry["classifier"], entry["feature_transform"]) == ("test", classifier, feature_transform)
    ]


def choose_ways(entries):
    """Returns the ways to report: the paper's 5 where any entry has them, or the most."""
    found = {entry["ways"] for entry in entries}
    return _WAYS if _WAYS in found or not found else max(found)


def choose_entry(entries, ways, shots):
    """Returns the accuracy by most of the paper's protocol: 15 queries first, then the most episodes, then the last.

    Returns:
        A dict of `accuracies`, or None where there is none of these ways and shots.
    """
    found = [entry for entry in entries if (entry["ways"], entry["shots"]) == (ways, shots)]
    order = lambda item: (item[1]["queries"] == _QUERIES, item[1]["episodes"], item[0])  # noqa: E731
    return max(enumerate(found), key=order)[1] if found else None


@dataclasses.dataclass(frozen=True)
class Candidate:
    """Runs that differ in their seeds alone.

    Args:
        runs: a tuple of finished `Run`, one a seed.
        repeats: further runs of these seeds, which are not averaged.
    """

    runs: tuple
    repeats: tuple = ()

    @property
    def configuration(self):
        """The `TrainingConfiguration` of the first seed."""
        return self.runs[0].configuration

    @property
    def batch_shape(self):
        """N×K, such as `"64x8"`."""
        return f"{self.configuration.ways}x{self.configuration.shots}"

    @property
    def validation_accuracy(self):
        """The mean of the seeds' best validation accuracies, a fraction; None where a seed has none."""
        values = [run.validation_accuracy for run in self.runs]
        return None if None in values else statistics.fmean(values)


def other_flags(configuration):
    """Returns `{flag: value}` of the mathematical flags beside data set, loss and seed."""
    left_out = {"dataset", "seed", *_LOSS_FLAGS}
    return {
        field.name: getattr(configuration, field.name)
        for field in dataclasses.fields(configuration)
        if field.metadata["mathematical"] and field.name not in left_out
    }


def gather(runs):
    """Groups the runs of one loss on one data set by all their flags but the seed.

    Returns:
        A tuple of `Candidate`, in the order of their first runs.
    """
    groups = {}
    for run in runs:
        seeds = groups.setdefault(tuple(other_flags(run.configuration).items()), {})
        seeds.setdefault(run.configuration.seed, []).append(run)
    candidates = []
    for seeds in groups.values():
        ordered = [seeds[seed] for seed in sorted(seeds)]
        repeats = tuple(run for same in ordered for run in same[1:])
        candidates.append(Candidate(tuple(same[0] for same in ordered), repeats))
    return tuple(candidates)


def pick(candidates):
    """Picks the candidate with the best mean validation accuracy; without any, the first."""
    validated = [candidate for candidate in candidates if candidate.validation_accuracy is not None]
    return max(validated, key=lambda candidate: candidate.validation_accuracy) if validated else candidates[0]


def differing_flags(configurations):
    """Returns the names of the flags, beside data set, loss and seed, on which configurations differ."""
    flags = [other_flags(configuration) for configuration in configurations]
    return [name for name in flags[0] if any(other[name] != flags[0][name] for other in flags[1:])] if flags else []


def describe(candidate, candidates):
    """Names a candidate by its batch shape and by the other flags on which the candidates differ."""
    names = differing_flags([other.configuration for other in candidates])
    flags = other_flags(candidate.configuration)
    extra = [f"--{name}={_text(flags[name])}" for name in names if name not in ("ways", "shots")]
    return " ".join([candidate.batch_shape.replace("x", "×"), *extra])


def _text(value):
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
