"""Training curves and discriminant scores over the epochs."""

import collections
import itertools
import re
import statistics

from dsl_tf.report.candidates import data_key, describe, gather, loss_key, loss_title
from dsl_tf.report.drawing import color_of, label_right, panel

_TERMS = {"classification_loss": ("classification", "alone"), "metric_loss": ("metric", "sum")}
_ACCURACY = re.compile(r"val_accuracy_([0-9]{1,4})_shot")
_SCORES = {
    "val_discriminant_score_classifier_subspace": "in span(W)",
    "val_discriminant_score_complement": "in its complement",
}


def curve(run, name):
    """Returns the epochs that logged a number, and its mean in each: two lists."""
    values = collections.defaultdict(list)
    for record in run.metrics:
        if name in record:
            values[record["epoch"]].append(record[name])
    epochs = sorted(values)
    return epochs, [statistics.fmean(values[epoch]) for epoch in epochs]


def _groups(comparison):
    """Groups all runs with a log, finished or not: by data, loss and all flags but the seed.

    Returns:
        A list of (data title, name, runs).
    """
    kinds = collections.defaultdict(list)
    for run in comparison.runs:
        if run.metrics:
            kinds[data_key(run), loss_key(run.configuration)].append(run)
    groups = []
    for (key, _), runs in kinds.items():
        candidates = gather(runs)
        for candidate in candidates:
            name = loss_title(candidate.configuration)
            name += f" {describe(candidate, candidates)}" if len(candidates) > 1 else ""
            groups.append((comparison.data_titles[key], name, (*candidate.runs, *candidate.repeats)))
    return groups


def _accuracy_names(runs):
    """Returns the logged names of validation accuracies, `{name: "1-shot"}`, by their shots."""
    names = {name for run in runs for record in run.metrics for name in record}
    # Matched whole: what else a file may hold is no label for Matplotlib, which reads formulas in it.
    found = sorted((int(match[1]), name) for name in names if (match := _ACCURACY.fullmatch(name)))
    return {name: f"{shots}-shot" for shots, name in found}


def _last(runs, name):
    """The last epoch's mean over runs, or None."""
    values = [curve(run, name)[1][-1] for run in runs if curve(run, name)[1]]
    return statistics.fmean(values) if values else None


def _draw_lines(axes, lines, colors, label_height):
    """Draws curves, a thin line a run, and names them at their ends.

    Args:
        axes: the Matplotlib axes.
        lines: tuples (runs, name of the number, label, name of the colour, factor).
        colors: the colours by name.
        label_height: of a line of letters, as a fraction of the axes' height.
    """
    last_epoch = 1
    for runs, name, _, color, factor in lines:
        for run in runs:
            epochs, values = curve(run, name)
            last_epoch = max([last_epoch, *epochs])
            # A single epoch is a point.
            marker = "o" if len(epochs) == 1 else None
            values = [factor * value for value in values]
            axes.plot(epochs, values, color=colors[color], linewidth=0.9, marker=marker, clip_on=False)
    axes.set_xlim(0, last_epoch)
    ends = [(factor * _last(runs, name), label, colors[color]) for runs, name, label, color, factor in lines]
    label_right(axes, ends, label_height)
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.locator_params(axis="x", integer=True)


def _training_panel(title, runs):
    losses = [(runs, name, *shown, 1) for name, shown in _TERMS.items() if _last(runs, name) is not None]
    accuracies = [
        (runs, name, label, color, 100)
        for (name, label), color in zip(
            _accuracy_names(runs).items(), itertools.cycle(("direct", "spectral", "other")), strict=False
        )
    ]
    rows = [(lines, label) for lines, label in ((losses, "loss"), (accuracies, "val. accuracy (%)")) if lines]
    if not rows:
        return None

    def draw(figure, colors):
        for axes, (lines, label) in zip(
            figure.subplots(len(rows), squeeze=False, sharex=True)[:, 0], rows, strict=True
        ):
            _draw_lines(axes, lines, colors, 0.13)
            axes.set_ylabel(label)
        axes.set_xlabel("epoch")

    ends = [f"{label} {factor * _last(runs, name):.2f}" for lines, _ in rows for _, name, label, _, factor in lines]
    return panel(draw, 1.5 * len(rows) + 0.4, title, f"{title}, at the last epoch: {'; '.join(ends)}.")


def training_panels(comparison):
    """Draws loss terms and validation accuracies over the epochs, a panel a group of runs, its seeds as thin lines.

    Args:
        comparison: a `Comparison`.

    Returns:
        A list of `Panel`.
    """
    panels = [_training_panel(f"{name}, {data}", runs) for data, name, runs in _groups(comparison)]
    return [drawn for drawn in panels if drawn]


def _score_panel(title, metric, groups):
    lines = [(runs, metric, name, color_of(runs[0].configuration), 1) for name, runs in groups]
    highest = max(value for _, runs in groups for run in runs for value in curve(run, metric)[1])
    height = max(2.4, 0.17 * len(lines) + 0.8)

    def draw(figure, colors):
        axes = figure.subplots()
        axes.set_ylim(0, 1.05 * highest or 1)
        _draw_lines(axes, lines, colors, 0.15 / (height - 0.6))
        axes.set_xlabel("epoch")
        axes.set_ylabel("discriminant score")

    ends = "; ".join(f"{name} {_last(runs, metric):.3f}" for name, runs in groups)
    return panel(draw, height, title, f"{title}, at the last epoch: {ends}.")


def score_panels(comparison):
    """Draws the discriminant scores of validation features over the epochs, in span(W) and in its complement.

    Args:
        comparison: a `Comparison`.

    Returns:
        A list of `Panel`, two a data set with such scores.
    """
    panels = []
    groups = _groups(comparison)
    for data in dict.fromkeys(data for data, _, _ in groups):
        for metric, space in _SCORES.items():
            shown = [(name, runs) for title, name, runs in groups if title == data and _last(runs, metric) is not None]
            if shown:
                panels.append(_score_panel(f"{data}, {space}", metric, shown))
    return panels
