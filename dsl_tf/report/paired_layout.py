"""The comparison of runs without published counterpart: accuracies and paired differences in one table."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dsl_tf.evaluation.paired import PairedMatrix, comparison_matrix
from dsl_tf.report.candidates import Candidate
from dsl_tf.report.layout import Layout
from dsl_tf.report.own_data import OwnTable
from dsl_tf.report.wording import measure_text, seeds_text, signed, with_error
from dsl_tf.runs.final_test import episodes_key

# The fields of an accuracy that name a measure.
_MEASURE = ("classifier", "feature_transform", "shots")
_DIFFERENCE = "difference (points)"


@dataclasses.dataclass(frozen=True)
class _Seeds:
    """The accuracies per episode of a training's seeds `[S, E]`, and the fingerprint of the episodes."""

    accuracies: np.ndarray
    seeds: tuple[int, ...]
    fingerprint: str


def paired_layout(data_title: str, tables: Sequence[OwnTable]) -> Layout | None:
    """Lays out the differences of trainings on one data set from the first of them, SCE alone if there is one.

    Args:
        data_title: the name of the data.
        tables: the tables of these data.

    Returns:
        A table with a heading per classifier, feature transform and number of shots, and a row per training; None if no
        two trainings were tested on the same episodes.
    """
    named = {row.name: row.candidate for table in tables for row in table.rows}
    order = sorted(named, key=lambda name: not _is_sce_alone(named[name]))
    measures = dict.fromkeys(
        (table.classifier, transform, shots)
        for table in tables
        for shots, transform in table.columns
        if table.classifier is not None
    )
    rows: list[tuple[str | None, tuple[str, ...]]] = []
    first, has_seeds = "", False
    for classifier, transform, shots in measures:
        found = _on_the_same_episodes(
            {name: _seeds(named[name], (classifier, transform, shots)) for name in order}, first
        )
        if len(found) < 2:
            continue
        matrix = comparison_matrix(
            {name: seeds.accuracies for name, seeds in found.items()},
            {name: seeds.seeds for name, seeds in found.items()},
        )
        first, has_seeds = matrix.names[0], has_seeds or bool(np.isfinite(matrix.seeds_half_widths[1:, 0]).any())
        heading = f"{measure_text(classifier, transform)}, {shots}-shot"
        rows += [(heading, cells) for cells in _cells(matrix)]
    if not rows:
        return None
    columns = [("", "training"), ("accuracy (%)", "± episodes"), (_DIFFERENCE, "± episodes"), (_DIFFERENCE, "± seeds")]
    # The last column is for trainings with several seeds.
    count = 4 if has_seeds else 3
    return Layout(
        f"{data_title}: differences from {first}, on the same test episodes",
        tuple(columns[:count]),
        tuple((heading, cells[:count]) for heading, cells in rows),
        _notes(has_seeds),
    )


def _on_the_same_episodes(measured: Mapping[str, _Seeds | None], first: str) -> dict[str, _Seeds]:
    """Those with the episodes of the first: the one of that name or, if it is empty, the first that has any."""
    found = {name: seeds for name, seeds in measured.items() if seeds is not None}
    first = first or next(iter(found), "")
    return {n: seeds for n, seeds in found.items() if first in found and seeds.fingerprint == found[first].fingerprint}


def _is_sce_alone(candidate: Candidate) -> bool:
    configuration = candidate.configuration
    return (configuration.classification_loss, configuration.metric_loss) == ("sce", "none")


def _seeds(candidate: Candidate, measure: tuple[Any, ...]) -> _Seeds | None:
    """The accuracies of the seeds that kept them, or None if a seed did not, or its episodes are others."""
    accuracies, fingerprints = [], set()
    for run in candidate.runs:
        entries = [
            entry
            for entry in (run.results or {}).get("accuracies", ())
            if entry["split"] == "test" and tuple(entry[name] for name in _MEASURE) == measure
        ]
        # An evaluation may have measured the same on other episodes; what training recorded comes last.
        kept = run.episodes.get(episodes_key(entries[-1])) if entries else None
        if kept is None or len(kept) != entries[-1]["episodes"]:
            return None
        accuracies.append(kept)
        fingerprints.add(entries[-1].get("episodes_fingerprint"))
    if len(fingerprints) != 1 or None in fingerprints:
        return None
    seeds = tuple(run.configuration.seed for run in candidate.runs if run.configuration)
    return _Seeds(np.stack(accuracies), seeds, fingerprints.pop())


def _cells(matrix: PairedMatrix) -> list[tuple[str, ...]]:
    """A row per training: name, accuracy, difference from the first, and its half-width over seeds."""
    rows: list[tuple[str, ...]] = []
    for index, name in enumerate(matrix.names):
        count = len(matrix.seed_accuracies[index])
        named = f"{name} ({seeds_text(count)})" if count > 1 else name
        accuracy = with_error(100 * matrix.accuracies[index], 100 * matrix.half_widths[index])
        change = matrix.differences[index, 0]
        over_episodes, over_seeds = matrix.episodes_half_widths[index, 0], matrix.seeds_half_widths[index, 0]
        difference = f"{signed(100 * change)} {_half_width(change, over_episodes)}" if index else ""
        rows.append((named, accuracy, difference, _half_width(change, over_seeds) if index else ""))
    return rows


def _half_width(change: float, value: float) -> str:
    """Formats a half-width, marked if the interval excludes 0; NaN, of a single seed, is empty."""
    return "" if np.isnan(value) else f"± {100 * value:.2f}{'*' if abs(change) > value else ''}"


def _notes(has_seeds: bool) -> tuple[str, ...]:
    text = (
        "± is half of a 95% interval. * marks intervals that exclude 0. Over episodes: these networks, other episodes"
    )
    if has_seeds:
        return (f"{text}; over seeds: other trainings, these episodes.",)
    return (f"{text}. Trainings with other seeds (--seed=1) may differ by more than that.",)
