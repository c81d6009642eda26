"""Formats results as tables for the screen."""

import os
from collections.abc import Sequence
from typing import Any

from dsl_tf.report.known_classes import known_classes_text
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


def results_summary(results: dict[str, Any], directory: str | os.PathLike[str]) -> str:
    """Formats the results of a finished run and the location of its files.

    Args:
        results: the content of `results.json`.
        directory: the run directory.
    """
    lines = [""]
    if results["accuracies"]:
        chance = ", ".join(f"{1 / ways:.1%}" for ways in sorted({entry["ways"] for entry in results["accuracies"]}))
        lines += [f"Few-shot accuracy of {results['loss']} on classes unseen in training (chance: {chance}):", ""]
        lines += [accuracy_table(results["accuracies"]), ""]
    if known := results.get("known_classes"):
        lines += [f"Loss: {results['loss']}. {known_classes_text(known)}", ""]
    if scores := results.get("discriminant_scores"):
        lines += [
            f"Discriminant score (Table 1): {scores['classifier_subspace']:.3f} in span(W), "
            f"{scores['complement']:.3f} in its complement"
        ]
    lines += [f"Results, backbone.keras and saved_model/ are in {directory}"]
    return "\n".join(lines)
