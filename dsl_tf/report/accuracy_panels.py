"""Accuracies by loss and by the power of the spectral sum."""

import collections

from dsl_tf.report.candidates import loss_title
from dsl_tf.report.drawing import color_of, label_right, panel
from dsl_tf.report.layout import with_error

# Table 4 has both shots of the rows that Table 3 has too.
_ORDER = (4, 6, 3)


def _measured(blocks, classifier):
    """Gathers what was measured, each training once.

    Returns:
        `{(data title, ways, shots): {loss title: (configuration, Measurement)}}`.
    """
    panels = collections.defaultdict(dict)
    for block in sorted(blocks, key=lambda block: _ORDER.index(block.table) if block.table in _ORDER else 0):
        for row in block.rows if block.classifier == classifier else ():
            for measurement in row.measurements if row.picked else ():
                if measurement.values:
                    name = loss_title(row.picked.configuration)
                    shown = panels[block.data_title, block.ways, measurement.shots]
                    shown.setdefault(name, (row.picked.configuration, measurement))
    return panels


def _limits(measurements):
    ends = [measurement.mean + sign * measurement.error for measurement in measurements for sign in (-1, 1)]
    ends += [measurement.published for measurement in measurements if measurement.published is not None]
    margin = 0.08 * max(max(ends) - min(ends), 1.0)
    return min(ends) - margin, max(ends) + margin


def _in_words(entries):
    words = []
    for name, (_, measurement) in entries.items():
        paper = "" if measurement.published is None else f" (published {measurement.published:.2f})"
        words.append(f"{name} {with_error(measurement.mean, measurement.error)}{paper}")
    return "; ".join(words)


def _loss_panel(title, entries):
    def draw(figure, colors):
        axes = figure.subplots()
        for place, (configuration, measurement) in enumerate(entries.values()):
            color = colors[color_of(configuration)]
            axes.errorbar(
                measurement.mean, place, xerr=measurement.error, fmt="o", color=color, markersize=5, capsize=3
            )
            if measurement.published is not None:
                # Below, where it hides nothing of the error bar.
                axes.plot(measurement.published, place + 0.3, "D", color=color, markerfacecolor="none", markersize=4)
            axes.annotate(
                f"{measurement.mean:.1f}",
                (1.01, place),
                xycoords=("axes fraction", "data"),
                va="center",
                annotation_clip=False,
            )
        axes.set_xlim(*_limits([measurement for _, measurement in entries.values()]))
        axes.set_ylim(len(entries) - 0.4, -0.6)
        axes.set_yticks(range(len(entries)), list(entries))
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.set_xlabel("accuracy (%)")

    return panel(draw, 0.27 * len(entries) + 0.6, title, f"{title}: {_in_words(entries)}.")


def loss_panels(blocks, classifier):
    """Draws the accuracies by loss with their error bars, published ones as hollow marks; a panel a data set and shot.

    Args:
        blocks: the `Block`s of a comparison.
        classifier: the few-shot classifier.

    Returns:
        A list of `Panel`.
    """
    return [
        _loss_panel(f"{data}, {ways}-way {shots}-shot", entries)
        for (data, ways, shots), entries in _measured(blocks, classifier).items()
    ]


def _power_panel(title, points, lines):
    everything = {name: entry for group in (points, lines) for name, entry in group.items()}

    def draw(figure, colors):
        axes = figure.subplots()
        limits = _limits([measurement for _, measurement in everything.values()])
        powers = [configuration.power for configuration, _ in points.values()]
        means = [measurement.mean for _, measurement in points.values()]
        errors = [measurement.error for _, measurement in points.values()]
        axes.errorbar(powers, means, yerr=errors, fmt="o-", color=colors["spectral"], markersize=5, capsize=3)
        papers = [(c.power, m.published) for c, m in points.values() if m.published is not None]
        if papers:
            axes.plot(*zip(*papers, strict=True), "D", color=colors["spectral"], markerfacecolor="none", markersize=5)
        labels = [(m.mean, name, colors[color_of(c)]) for name, (c, m) in lines.items()]
        for mean, _, color in labels:
            axes.axhline(mean, color=color, linewidth=1.2, linestyle="--")
        axes.set_xlim(0.05, 0.55)
        axes.set_xticks((0.1, 0.2, 0.3, 0.4, 0.5))
        axes.set_ylim(*limits)
        label_right(axes, labels, 0.07)
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.set_xlabel("power p")
        axes.set_ylabel("accuracy (%)")

    return panel(draw, 2.6, title, f"{title}: {_in_words(everything)}.")


def power_panels(blocks):
    """Draws the spectral sum's accuracy against its power p, the losses without it as lines.

    Args:
        blocks: the `Block`s of a comparison.

    Returns:
        A list of `Panel`, one a data set, metric loss and shot.
    """
    table_6 = [block for block in blocks if block.table == 6]
    panels = []
    for (data, ways, shots), entries in _measured(table_6, "nearest_centroid").items():
        for metric in ("nca", "proto"):
            points = {
                name: entry
                for name, entry in sorted(entries.items(), key=lambda item: item[1][0].power)
                if color_of(entry[0]) == "spectral" and entry[0].metric_loss == metric
            }
            lines = {
                name: entry
                for name, entry in entries.items()
                if color_of(entry[0]) != "spectral" and entry[0].metric_loss in (metric, "none")
            }
            if points:
                name = next(iter(points)).rpartition(" ")[0]
                panels.append(_power_panel(f"{name}, {data}, {ways}-way {shots}-shot", points, lines))
    return panels
