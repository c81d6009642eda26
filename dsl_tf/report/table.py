"""Results as a table on the screen."""

import os
from collections.abc import Sequence
from typing import Any


def accuracy_table(accuracies: Sequence[dict[str, Any]]) -> str:
    """Lays out few-shot accuracies, a line for each classifier and feature transform, a column for each shot.

    Args:
        accuracies: dicts as `few_shot_accuracies` returns them.

    Returns:
        Lines of text, accuracies in percent with their 95% confidence half-width.
    """
    columns = sorted({(entry["ways"], entry["shots"]) for entry in accuracies})
    rows = {}
    for entry in accuracies:
        row = (entry["split"], entry["classifier"], entry["feature_transform"], entry["queries"], entry["episodes"])
        cell = f"{100 * entry['accuracy']:.2f} ± {100 * entry['half_width']:.2f}"
        rows.setdefault(row, {})[entry["ways"], entry["shots"]] = cell
    header = ["split", "classifier", "transform", "queries", "episodes"]
    header += [f"{ways}-way {shots}-shot (%)" for ways, shots in columns]
    table = [header] + [[*map(str, row), *(cells.get(column, "") for column in columns)] for row, cells in rows.items()]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]
    return "\n".join([lines[0], "  ".join("─" * width for width in widths), *lines[1:]])


def results_summary(results: dict[str, Any], directory: str | os.PathLike[str]) -> str:
    """Lays out what a finished run measured, and where it left its files.

    Args:
        results: what `results.json` holds.
        directory: the run directory.
    """
    lines = [""]
    if results["accuracies"]:
        lines += [f"Few-shot accuracy of {results['loss']} on classes unseen in training:", ""]
        lines += [accuracy_table(results["accuracies"]), ""]
    if scores := results.get("discriminant_scores"):
        lines += [
            f"Discriminant score (Table 1): {scores['classifier_subspace']:.3f} in span(W), "
            f"{scores['complement']:.3f} in its complement"
        ]
    lines += [f"Results, backbone.keras and saved_model/ are in {directory}"]
    return "\n".join(lines)
