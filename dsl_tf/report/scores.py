"""Discriminant scores of test features, as in Table 1."""

import dataclasses
import statistics
from collections.abc import Sequence

from dsl_tf.experiments import DISCRIMINANT_SCORES, cells
from dsl_tf.report.candidates import Candidate, data_key, gather, labels
from dsl_tf.report.differences import Marks, differences
from dsl_tf.report.runs import Run
from dsl_tf.runs.titles import loss_title

SPACES = {"classifier_subspace": "in span(W)", "complement": "in its complement"}


@dataclasses.dataclass(frozen=True)
class ScoreRow:
    """The scores of runs that differ only in their seeds.

    Args:
        name: the loss and the settings that distinguish it on this data, with the mark of its differences.
        values: per name in `SPACES`, the scores of the seeds.
        published: the scores in the paper by the names of `SPACES`; empty if there are none.
        differences: the settings that differ from the paper's cell, as texts.
        mark: the letter of the note with these differences; empty if there are none.
    """

    name: str
    values: dict[str, tuple[float, ...]]
    published: dict[str, float]
    differences: tuple[str, ...]
    mark: str

    def mean(self, space: str) -> float:
        """Returns the mean over seeds."""
        return statistics.fmean(self.values[space])

    def spread(self, space: str) -> float | None:
        """Returns the sample standard deviation over seeds; None for fewer than two."""
        values = self.values[space]
        return statistics.stdev(values) if len(values) > 1 else None


def _row(name: str, candidate: Candidate, has_published: bool, marks: Marks) -> ScoreRow:
    title = loss_title(candidate.configuration)
    published = DISCRIMINANT_SCORES.get(title, {}) if has_published else {}
    values = {
        space: tuple(run.results["discriminant_scores"][space] for run in candidate.runs if run.results)
        for space in SPACES
    }
    found: tuple[str, ...] = ()
    if published:
        (cell,) = (cell for cell in cells(4, ["mini_imagenet"]) if cell.name == title)
        found = differences(candidate, cell, ())
    letter = marks.of(found)
    return ScoreRow(f"{name} ({letter})" if letter else name, values, published, found, letter)


def score_rows(runs: Sequence[Run], marks: Marks) -> dict[str, tuple[ScoreRow, ...]]:
    """Averages the discriminant scores of finished runs over seeds.

    Args:
        runs: the runs.
        marks: the marks of the report.

    Returns:
        The rows by `data_key`; empty if no run has scores.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        if run.state == "finished" and run.results and run.results.get("discriminant_scores"):
            groups.setdefault(data_key(run), []).append(run)
    rows = {}
    for key, found in groups.items():
        candidates = gather(found)
        named = zip(labels(candidates), candidates, strict=True)
        rows[key] = tuple(_row(name, candidate, key == "mini_imagenet", marks) for name, candidate in named)
    return rows
