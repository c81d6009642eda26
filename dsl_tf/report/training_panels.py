"""Training curves and discriminant scores over the epochs."""

import collections
import itertools
import re
import statistics
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dsl_tf.report.candidates import data_key, gather, labels
from dsl_tf.report.comparison import Comparison
from dsl_tf.report.drawing import LINE, Panel, color_of, label_right, panel, wrapped
from dsl_tf.report.runs import Run
from dsl_tf.report.wording import seeds_text

# Runs, the name of the logged number, the label of the line, the name of its colour, and a factor.
_Line = tuple[Sequence[Run], str, str, str, float]

_TERMS: dict[str, tuple[str, str]] = {
    "classification_loss": ("classification", "alone"),
    "metric_loss": ("metric", "sum"),
}
_ACCURACY = re.compile(r"val_accuracy_([0-9]{1,4})_shot")
# Of held-out images of known classes.
_KNOWN_CLASSES = {
    "val_accuracy_nearest_class_mean": "class mean",
    "val_accuracy_classifier": "classifier",
    "val_recall_at_1": "recall@1",
}
_SCORES = {
    "val_discriminant_score_classifier_subspace": "in span(W)",
    "val_discriminant_score_complement": "in its complement",
}


def curve(run: Run, name: str) -> tuple[list[float], list[float]]:
    """Returns the epochs with logged values of a number, and its mean in each."""
    values = collections.defaultdict(list)
    for record in run.metrics:
        if name in record:
            values[record["epoch"]].append(record[name])
    epochs = sorted(values)
    return epochs, [statistics.fmean(values[epoch]) for epoch in epochs]


def _groups(comparison: Comparison) -> list[tuple[str, str, tuple[Run, ...]]]:
    """Groups all runs with a log, finished or not, by data, loss and all flags except the seed.

    Returns:
        A list of (data title, name, runs).
    """
    kinds = collections.defaultdict(list)
    for run in comparison.runs:
        if run.metrics and run.configuration:
            kinds[data_key(run)].append(run)
    groups = []
    for key, runs in kinds.items():
        candidates = gather(runs)
        for name, candidate in zip(labels(candidates), candidates, strict=True):
            groups.append((comparison.data_titles[key], name, (*candidate.runs, *candidate.repeats)))
    return groups


def _accuracy_names(runs: Sequence[Run]) -> dict[str, str]:
    """Returns the logged names of validation accuracies, `{name: "1-shot"}`, few-shot ones in the order of shots."""
    names = {name for run in runs for record in run.metrics for name in record}
    # The full name must match: Matplotlib would read formulas in other labels from a file.
    found = sorted((int(match[1]), name) for name in names if (match := _ACCURACY.fullmatch(name)))
    known = {name: title for name, title in _KNOWN_CLASSES.items() if name in names}
    return {**{name: f"{shots}-shot" for shots, name in found}, **known}


def _last(runs: Sequence[Run], name: str) -> float | None:
    """Returns the last epoch's mean over runs, or None."""
    values = [curve(run, name)[1][-1] for run in runs if curve(run, name)[1]]
    return statistics.fmean(values) if values else None


def _draw_lines(axes: Axes, lines: Sequence[_Line], colors: dict[str, str], label_height: float) -> None:
    """Draws curves, a thin line per run, and labels them at their ends.

    Args:
        axes: the Matplotlib axes.
        lines: the curves.
        colors: the colours by name.
        label_height: the height of a line of text as a fraction of the height of the axes.
    """
    last_epoch = 1.0
    for runs, name, _, color, factor in lines:
        for run in runs:
            epochs, values = curve(run, name)
            last_epoch = max([last_epoch, *epochs])
            # A single epoch is drawn as a point.
            marker = "o" if len(epochs) == 1 else None
            values = [factor * value for value in values]
            axes.plot(epochs, values, color=colors[color], linewidth=0.9, marker=marker, clip_on=False)
    axes.set_xlim(0, last_epoch)
    ends = [(factor * (_last(runs, name) or 0.0), label, colors[color]) for runs, name, label, color, factor in lines]
    label_right(axes, ends, label_height)
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.locator_params(axis="x", integer=True)


def _seeds_text(runs: Sequence[Run]) -> str:
    return seeds_text(len({run.configuration.seed for run in runs if run.configuration}))


def _training_panel(title: str, runs: Sequence[Run]) -> Panel | None:
    losses: list[_Line] = [
        (runs, name, shown[0], shown[1], 1.0) for name, shown in _TERMS.items() if _last(runs, name) is not None
    ]
    if not losses and _last(runs, "loss") is not None:
        losses = [(runs, "loss", "loss", "alone", 1)]
    accuracies: list[_Line] = [
        (runs, name, label, color, 100)
        for (name, label), color in zip(
            _accuracy_names(runs).items(), itertools.cycle(("direct", "spectral", "other")), strict=False
        )
    ]
    rows = [(lines, label) for lines, label in ((losses, "loss"), (accuracies, "val. accuracy (%)")) if lines]
    if not rows:
        return None

    def draw(figure: Figure, colors: dict[str, str]) -> None:
        all_axes = figure.subplots(len(rows), squeeze=False, sharex=True)[:, 0]
        for axes, (lines, label) in zip(all_axes, rows, strict=True):
            _draw_lines(axes, lines, colors, 0.13)
            axes.set_ylabel(label)
        all_axes[-1].set_xlabel("epoch")

    ends = [
        f"{label} {factor * (_last(runs, name) or 0.0):.2f}" for lines, _ in rows for _, name, label, _, factor in lines
    ]
    return panel(draw, 1.5 * len(rows) + 0.4, title, f"{title}, at the last epoch: {'; '.join(ends)}.")


def training_panels(comparison: Comparison) -> list[Panel]:
    """Draws loss terms and validation accuracies over the epochs: a panel per group of runs, a thin line per seed."""
    panels = [
        _training_panel(f"{name} ({_seeds_text(runs)}), {data}", runs) for data, name, runs in _groups(comparison)
    ]
    return [drawn for drawn in panels if drawn]


def _score_panel(title: str, metric: str, groups: Sequence[tuple[str, Sequence[Run]]]) -> Panel:
    lines: list[_Line] = []
    for name, runs in groups:
        assert runs[0].configuration
        lines.append((runs, metric, name, color_of(runs[0].configuration), 1))
    highest = max(value for _, runs in groups for run in runs for value in curve(run, metric)[1])
    most = max(wrapped(name).count("\n") + 1 for name, _ in groups)
    height = max(2.4, (LINE + 0.03) * most * len(lines) + 0.9)

    def draw(figure: Figure, colors: dict[str, str]) -> None:
        axes = figure.subplots()
        axes.set_ylim(0, 1.05 * highest or 1)
        _draw_lines(axes, lines, colors, LINE / (height - 0.9))
        axes.set_xlabel("epoch")
        axes.set_ylabel("discriminant score")

    ends = "; ".join(f"{name} {_last(runs, metric) or 0.0:.3f}" for name, runs in groups)
    return panel(draw, height, title, f"{title}, at the last epoch: {ends}.")


def score_panels(comparison: Comparison) -> list[Panel]:
    """Draws the discriminant scores of validation features over the epochs, in span(W) and in its complement.

    Args:
        comparison: a `Comparison`.

    Returns:
        Two panels per data set with such scores.
    """
    panels = []
    groups = _groups(comparison)
    for data in dict.fromkeys(data for data, _, _ in groups):
        for metric, space in _SCORES.items():
            shown = [(name, runs) for title, name, runs in groups if title == data and _last(runs, metric) is not None]
            if shown:
                panels.append(_score_panel(f"{data}, {space}", metric, shown))
    return panels
