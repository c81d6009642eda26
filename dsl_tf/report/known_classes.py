"""Formats measures of held-out images of known classes, for the screen and for reports."""

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any

from dsl_tf.evaluation.known_classes import LINEAR, NEAREST_CLASS_MEAN
from dsl_tf.report.candidates import Candidate, gather, labels
from dsl_tf.report.layout import Layout
from dsl_tf.report.runs import Run
from dsl_tf.report.text_table import text_table
from dsl_tf.report.wording import FEATURES

TITLES = {NEAREST_CLASS_MEAN: "nearest class mean of the training images", LINEAR: "classifier of the training (W)"}
EXPLANATION = (
    "Measured on held-out images of classes that training has seen (--held_out=images), so these are not few-shot "
    "accuracies of unseen classes."
)


def known_classes_text(found: dict[str, Any]) -> str:
    """Formats measures for the screen.

    Args:
        found: what `known_class_measures` returned.

    Returns:
        Lines of text: what was measured, a table of accuracies with 95% intervals, and the retrieval.
    """
    first = found["accuracies"][0]
    lines = [
        f"Held-out {first['split']} images of known classes: {first['images']:,} images of {first['classes']} classes "
        f"(chance: {1 / first['classes']:.1%}; always the largest class: {found['largest_class']:.1%})",
        "",
        text_table(["classifier", "transform", "accuracy (%)", "95% interval"], [_row(e) for e in found["accuracies"]]),
        "",
    ]
    if "retrieval" in found:
        lines.append(
            f"Retrieval, each held-out image among the others: recall@1 {found['retrieval']['recall_at_1']:.2%}, "
            f"MAP@R {found['retrieval']['map_at_r']:.2%}"
        )
    return "\n".join([*lines, EXPLANATION])


def _row(entry: dict[str, Any]) -> list[str]:
    low, high = entry["interval"]
    name = TITLES.get(entry["classifier"], entry["classifier"])
    return [name, entry["feature_transform"], f"{100 * entry['accuracy']:.2f}", f"{100 * low:.2f} to {100 * high:.2f}"]


# The columns of a report: the group, the name, and which of the measures.
_COLUMNS = (
    *(("nearest class mean (%)", FEATURES[kind], (NEAREST_CLASS_MEAN, kind)) for kind in FEATURES),
    ("classifier (%)", "W", (LINEAR, "none")),
    ("retrieval (%)", "recall@1", ("retrieval", "recall_at_1")),
    ("retrieval (%)", "MAP@R", ("retrieval", "map_at_r")),
)


@dataclasses.dataclass(frozen=True)
class KnownRow:
    """Runs on held-out images of known classes that differ only in their seeds.

    Args:
        name: the loss, and the settings that distinguish it from the other rows.
        candidate: the runs.
        values: the seeds' values in percent, by classifier and feature transform, or `"retrieval"` and its measure.
    """

    name: str
    candidate: Candidate
    values: dict[tuple[str, str], list[float]]


def known_rows(runs: Sequence[Run]) -> list[KnownRow]:
    """Returns the measures of those of the runs on one data set that have any, a row per training."""
    candidates = gather([run for run in runs if run.results and run.results.get("known_classes")])
    return [
        KnownRow(name, candidate, {key: _values(candidate, key) for _, _, key in _COLUMNS})
        for name, candidate in zip(labels(candidates), candidates, strict=True)
    ]


def known_layout(data_title: str, runs: Sequence[Run]) -> Layout | None:
    """Lays out the measures of runs on one data set, a row per training; None if no run has any.

    Args:
        data_title: the name of the data.
        runs: finished runs on it.
    """
    found = known_rows(runs)
    if not found:
        return None
    columns = [column for column in _COLUMNS if any(row.values[column[2]] for row in found)]
    rows = [
        (None, (row.name, *(_cell(row.values[key]) for _, _, key in columns), str(len(row.candidate.runs))))
        for row in found
    ]
    measured = [run.results["known_classes"] for row in found for run in row.candidate.runs if run.results]
    entries = [known["accuracies"][0] for known in measured]
    title = f"{data_title}: held-out images of known classes, {_span([e['images'] for e in entries])} images"
    title += f" of {_span([entry['classes'] for entry in entries])} classes"
    widest = max(
        max(entry["interval"][1] - entry["accuracy"], entry["accuracy"] - entry["interval"][0])
        for known in measured
        for entry in known["accuracies"]
    )
    largest = max(known["largest_class"] for known in measured)
    notes = (
        EXPLANATION,
        f"95% intervals (Wilson) reach up to {100 * widest:.1f} percentage points from these accuracies. Always "
        f"answering the largest class would be right in {100 * largest:.1f}%.",
    )
    headers = (("", "training"), *((group, name) for group, name, _ in columns), ("", "seeds"))
    return Layout(title, headers, tuple(rows), notes)


def _values(candidate: Candidate, key: tuple[str, str]) -> list[float]:
    """The values of the seeds, in percent."""
    values = []
    for run in candidate.runs:
        known = run.results["known_classes"] if run.results else {}
        if key[0] == "retrieval":
            values += [known["retrieval"][key[1]]] if known.get("retrieval") else []
        else:
            values += [
                entry["accuracy"]
                for entry in known["accuracies"]
                if (entry["classifier"], entry["feature_transform"]) == key
            ]
    return [100 * value for value in values]


def _cell(values: Sequence[float]) -> str:
    if not values:
        return ""
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.2f}{spread}"


def _span(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
