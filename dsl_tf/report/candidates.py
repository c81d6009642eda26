"""Runs that may be averaged, and the best of several batch shapes."""

import dataclasses
import os
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from dsl_tf.report.runs import Run
from dsl_tf.runs.configuration import TrainingConfiguration
from dsl_tf.runs.titles import loss_key, settings, titles

# The protocol of the paper, preferred if a run was evaluated with several.
_QUERIES = 15


def data_key(run: Run) -> str:
    """Returns a key of the data of a run: the value of `--dataset`, with the folder for `folder`."""
    if run.results and run.results.get("source") == "arrays":
        # Python passed other data, so --dataset has no meaning.
        return "arrays"
    assert run.configuration
    if run.configuration.dataset == "folder":
        return f"folder:{os.path.normpath(run.configuration.data_dir or '.')}"
    return run.configuration.dataset


def finished_runs(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Groups the finished ones of some runs by `data_key`."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        if run.state == "finished":
            found.setdefault(data_key(run), []).append(run)
    return found


def test_entries(run: Run, classifier: str) -> list[dict[str, Any]]:
    """Returns a run's accuracies on its test split by a few-shot classifier, dicts as in `results.json`."""
    entries = (run.results or {}).get("accuracies", ())
    return [entry for entry in entries if (entry["split"], entry["classifier"]) == ("test", classifier)]


def choose_entry(
    entries: Iterable[dict[str, Any]], feature_transform: str, ways: int, shots: int
) -> dict[str, Any] | None:
    """Returns the accuracy closest to the paper's protocol: 15 queries first, then most episodes, then the last."""
    found = [
        entry
        for entry in entries
        if (entry["feature_transform"], entry["ways"], entry["shots"]) == (feature_transform, ways, shots)
    ]
    order = lambda item: (item[1]["queries"] == _QUERIES, item[1]["episodes"], item[0])  # noqa: E731
    return max(enumerate(found), key=order)[1] if found else None


@dataclasses.dataclass(frozen=True)
class Measurement:
    """An accuracy averaged over seeds, and the published one, in percent.

    Args:
        classifier: the few-shot classifier.
        feature_transform: the feature transform.
        ways: N of the few-shot task.
        shots: K of the few-shot task.
        values: the accuracy of each seed; empty if it was not measured.
        episodes_half_width: the 95% confidence half-width of the first seed; None if it was not measured.
        published: the accuracy in the paper, or None.
        protocols: pairs of queries and episodes of the seeds.
    """

    classifier: str
    feature_transform: str
    ways: int
    shots: int
    values: tuple[float, ...]
    episodes_half_width: float | None
    published: float | None = None
    protocols: tuple[tuple[int, int], ...] = ()

    @property
    def mean(self) -> float | None:
        """The mean over seeds, or None."""
        return statistics.fmean(self.values) if self.values else None

    @property
    def spread(self) -> float | None:
        """The sample standard deviation over seeds; None for fewer than two."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def half_width(self) -> float | None:
        """The 95% confidence half-width over the episodes of one seed; None for several."""
        return self.episodes_half_width if len(self.values) == 1 else None

    @property
    def error(self) -> float | None:
        """The number after ±: the standard deviation over seeds, or the half-width of a single seed."""
        return self.half_width if self.spread is None else self.spread

    @property
    def difference(self) -> float | None:
        """Measured minus published, or None."""
        return None if self.mean is None or self.published is None else self.mean - self.published


@dataclasses.dataclass(frozen=True, eq=False)
class Candidate:
    """Runs that differ only in their seeds.

    Args:
        runs: finished runs, one per seed.
        repeats: further runs with the same flags and seeds, which are not averaged.
    """

    runs: tuple[Run, ...]
    repeats: tuple[Run, ...] = ()

    @property
    def configuration(self) -> TrainingConfiguration:
        """The configuration of the first seed."""
        assert self.runs[0].configuration
        return self.runs[0].configuration

    @property
    def batch_shape(self) -> str:
        """N×K, such as `"64x8"`."""
        return f"{self.configuration.ways}x{self.configuration.shots}"

    @property
    def validation_accuracy(self) -> float | None:
        """The mean of the seeds' best validation accuracies, a fraction; None if a seed has none."""
        values = [run.validation_accuracy for run in self.runs if run.validation_accuracy is not None]
        return statistics.fmean(values) if len(values) == len(self.runs) else None

    def measure(
        self, classifier: str, feature_transform: str, ways: int, shots: int, published: float | None = None
    ) -> Measurement:
        """Averages an accuracy over the seeds for which it was measured."""
        found = [choose_entry(test_entries(run, classifier), feature_transform, ways, shots) for run in self.runs]
        entries = [entry for entry in found if entry]
        return Measurement(
            classifier,
            feature_transform,
            ways,
            shots,
            tuple(100 * entry["accuracy"] for entry in entries),
            100 * entries[0]["half_width"] if entries else None,
            published,
            tuple((entry["queries"], entry["episodes"]) for entry in entries),
        )


def gather(runs: Iterable[Run]) -> tuple[Candidate, ...]:
    """Groups runs by data, loss and all settings except the seed, in the order of their first runs."""
    groups: dict[Any, dict[int, list[Run]]] = {}
    for run in runs:
        configuration = run.configuration
        assert configuration
        key = (data_key(run), run.particulars, loss_key(configuration), tuple(settings(configuration).items()))
        groups.setdefault(key, {}).setdefault(configuration.seed, []).append(run)
    candidates = []
    for seeds in groups.values():
        ordered = [seeds[seed] for seed in sorted(seeds)]
        repeats = tuple(run for same in ordered for run in same[1:])
        candidates.append(Candidate(tuple(same[0] for same in ordered), repeats))
    return tuple(candidates)


def variants(candidates: Iterable[Candidate]) -> list[tuple[Candidate, ...]]:
    """Groups candidates that differ only in N×K, with the same N·K: the paper reports the best of them."""
    groups: dict[Any, list[Candidate]] = {}
    for candidate in candidates:
        configuration = candidate.configuration
        others = tuple(item for item in settings(configuration).items() if item[0] not in ("ways", "shots"))
        key = (configuration.ways * configuration.shots, candidate.runs[0].particulars, others)
        groups.setdefault(key, []).append(candidate)
    return [tuple(group) for group in groups.values()]


def pick(candidates: Sequence[Candidate]) -> Candidate:
    """Picks the candidate with the best mean validation accuracy, or the first if none has one."""
    validated = [candidate for candidate in candidates if candidate.validation_accuracy is not None]
    return max(validated, key=lambda candidate: candidate.validation_accuracy or 0.0) if validated else candidates[0]


def labels(candidates: Sequence[Candidate]) -> list[str]:
    """Gives candidates on the same data distinct names.

    Returns:
        A name per candidate: its loss, the settings in which it differs from others with the same loss, facts that are
        not in its flags and, if two names are still equal, the directory.
    """
    names = titles([candidate.configuration for candidate in candidates])
    for index, candidate in enumerate(candidates):
        names[index] = ", ".join([names[index], *candidate.runs[0].particulars])
    return [
        name if names.count(name) == 1 else f"{name} ({candidate.runs[0].directory})"
        for name, candidate in zip(names, candidates, strict=True)
    ]
