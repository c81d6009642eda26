"""Formats results as tables for the screen."""

from collections.abc import Sequence
from typing import Any

from dsl_tf.report.text_table import text_table
from dsl_tf.report.wording import with_error


def accuracy_table(accuracies: Sequence[dict[str, Any]]) -> str:
    """Formats few-shot accuracies: a line per classifier and feature transform, a column per number of shots.

    Args:
        accuracies: dicts as `few_shot_accuracies` returns them.

    Returns:
        Lines of text, with accuracies in percent and their 95% confidence half-widths.
    """
    columns = sorted({(entry["ways"], entry["shots"]) for entry in accuracies})
    rows: dict[tuple[str, ...], dict[tuple[int, int], str]] = {}
    for entry in accuracies:
        names = ("split", "classifier", "feature_transform", "queries", "episodes")
        cell = with_error(100 * entry["accuracy"], 100 * entry["half_width"])
        labels = {**entry, "queries": _queries_text(entry), "episodes": _episodes_text(entry)}
        rows.setdefault(tuple(str(labels[name]) for name in names), {})[entry["ways"], entry["shots"]] = cell
    header = ["split", "classifier", "transform", "queries", "episodes"]
    header += [f"{ways}-way {shots}-shot (%)" for ways, shots in columns]
    return text_table(header, [[*row, *(cells.get(column, "") for column in columns)] for row, cells in rows.items()])


def _queries_text(entry: dict[str, Any]) -> str:
    concentration = entry.get("query_concentration")
    return str(entry["queries"]) if concentration is None else f"{entry['queries']} (Dirichlet {concentration:g})"


def _episodes_text(entry: dict[str, Any]) -> str:
    kinds = {"varied": "varied", "within_groups": "within groups", "listed": "from a file"}
    found = ", ".join(text for name, text in kinds.items() if name in entry)
    return f"{entry['episodes']} ({found})" if found else str(entry["episodes"])
