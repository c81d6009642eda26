"""A plot of the accuracies of runs."""

import os
import pathlib
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dsl_tf.report.wording import measure_text


def draw_accuracies(
    runs: dict[str, dict[str, Any]],
    path: str | os.PathLike[str],
    classifier: str = "nearest_centroid",
    feature_transform: str = "none",
) -> None:
    """Draws the test accuracies of several runs as points with their 95% confidence intervals, one panel per shot.

    Args:
        runs: a dict from the displayed name to the content of the run's `results.json`.
        path: the image file to write; its extension decides the format.
        classifier, feature_transform: which accuracies to draw.

    Raises:
        ValueError: if a run has no such accuracies of its test split.
    """
    found: dict[tuple[int, int], dict[str, dict[str, Any]]] = {}
    for name, results in runs.items():
        for entry in results["accuracies"]:
            chosen = entry["classifier"] == classifier and entry["feature_transform"] == feature_transform
            if chosen and entry["split"] == "test":
                found.setdefault((entry["ways"], entry["shots"]), {})[name] = entry
    panels = sorted(found)
    if not panels or any(set(found[panel]) != set(runs) for panel in panels):
        raise ValueError(
            f"Every run must have test accuracies of {classifier} with feature transform {feature_transform}, for the "
            f"same ways and shots. Received: { ({panel: sorted(found[panel]) for panel in panels}) }"
        )
    figure = Figure(figsize=(3.6 * len(panels), 0.5 * len(runs) + 1.5), layout="constrained")
    rows = np.arange(len(runs))
    for axes, panel in zip(figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels, strict=True):
        values = np.array([100 * found[panel][name]["accuracy"] for name in runs])
        widths = np.array([100 * found[panel][name]["half_width"] for name in runs])
        # Points instead of bars, because the axis does not start at 0.
        axes.errorbar(values, rows, xerr=widths, fmt="o", color="#2f5f8f", markersize=6, capsize=4)
        for row, value in enumerate(values):
            axes.annotate(f"{value:.1f}", (value, row), (0, 7), textcoords="offset points", ha="center", fontsize=9)
        spread = max(np.ptp(values), 2.0)
        axes.set_xlim(values.min() - 0.3 * spread, values.max() + 0.3 * spread)
        axes.set_ylim(-0.6, len(runs) - 0.4)
        axes.grid(axis="y", alpha=0.3)
        axes.set_title(f"{panel[0]}-way {panel[1]}-shot", fontsize=10)
        axes.set_xlabel("accuracy (%)", fontsize=9)
        axes.set_yticks(rows, list(runs))
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].invert_yaxis()
    sources = sorted({results["source"] for results in runs.values() if "source" in results})
    data = f"{', '.join(sources)} test: " if sources else "test: "
    figure.suptitle(f"{data}{measure_text(classifier, feature_transform)}", fontsize=11, parse_math=False)
    figure.savefig(pathlib.Path(path), dpi=150)
