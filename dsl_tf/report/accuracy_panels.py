"""Accuracies by loss and by the power of the spectral sum."""

import collections
import dataclasses
import functools
from collections.abc import Sequence

from matplotlib.figure import Figure

from dsl_tf.experiments import FEATURE_TRANSFORMS
from dsl_tf.report.candidates import Measurement
from dsl_tf.report.comparison import Block, Comparison
from dsl_tf.report.drawing import LINE, Panel, color_of, label_right, panel, wrapped
from dsl_tf.report.wording import measure_text, with_error
from dsl_tf.runs.configuration import TrainingConfiguration
from dsl_tf.runs.titles import loss_title

# Table 4 contains the rows of Table 3, for both numbers of shots.
_ORDER = (4, 6, 3, 5)


@dataclasses.dataclass(frozen=True)
class _Point:
    configuration: TrainingConfiguration
    measurement: Measurement


def _in_blocks(blocks: Sequence[Block]) -> dict[tuple[str, int, str, str], dict[str, _Point]]:
    """Collects the measured accuracies that have a published counterpart, each training once.

    Returns:
        `{(data title, shots, classifier, feature transform): {loss title: _Point}}`.
    """
    panels: dict[tuple[str, int, str, str], dict[str, _Point]] = collections.defaultdict(dict)
    for block in sorted(blocks, key=lambda block: _ORDER.index(block.table)):
        for row in block.rows:
            for found in row.measurements if row.picked else ():
                if found.values and row.picked:
                    name = loss_title(row.picked.configuration) + (f" ({row.mark})" if row.mark else "")
                    key = (block.data_title, found.shots, found.classifier, found.feature_transform)
                    panels[key].setdefault(name, _Point(row.picked.configuration, found))
    return panels


def _title(data: str, points: dict[str, _Point]) -> str:
    found = next(iter(points.values())).measurement
    return f"{data}, {found.ways}-way {found.shots}-shot: {measure_text(found.classifier, found.feature_transform)}"


def _limits(points: Sequence[_Point]) -> tuple[float, float]:
    ends: list[float] = []
    for point in points:
        found = point.measurement
        ends += [(found.mean or 0.0) + sign * (found.error or 0.0) for sign in (-1, 1)]
        ends += [] if found.published is None else [found.published]
    margin = 0.08 * max(max(ends) - min(ends), 1.0)
    return min(ends) - margin, max(ends) + margin


def _in_words(points: dict[str, _Point]) -> str:
    words = []
    for name, point in points.items():
        found = point.measurement
        paper = "" if found.published is None else f" (published {found.published:.2f})"
        words.append(f"{name} {with_error(found.mean, found.error)}{paper}")
    return "; ".join(words)


def _loss_panel(title: str, points: dict[str, _Point]) -> Panel:
    names = [wrapped(name) for name in points]
    # A place per line of a name, so that long names do not overlap.
    places, top = [], 0.0
    for name in names:
        height = max(1.0, 0.62 * (name.count("\n") + 1))
        places.append(top + height / 2)
        top += height

    def draw(figure: Figure, colors: dict[str, str]) -> None:
        axes = figure.subplots()
        for place, point in zip(places, points.values(), strict=True):
            color, found = colors[color_of(point.configuration)], point.measurement
            axes.errorbar(found.mean or 0.0, place, xerr=found.error, fmt="o", color=color, markersize=5, capsize=3)
            if found.published is not None:
                # Below the error bar, which it would hide otherwise.
                axes.plot(found.published, place + 0.3, "D", color=color, markerfacecolor="none", markersize=4)
            axes.annotate(
                f"{found.mean:.1f}",
                (1.01, place),
                xycoords=("axes fraction", "data"),
                va="center",
                annotation_clip=False,
            )
        axes.set_xlim(*_limits(list(points.values())))
        axes.set_ylim(top + 0.1, -0.1)
        axes.set_yticks(places, names, parse_math=False)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.set_xlabel("accuracy (%)")

    return panel(draw, 0.27 * top + 0.6, title, f"{title}: {_in_words(points)}.")


def loss_panels(comparison: Comparison) -> list[Panel]:
    """Draws the accuracies by loss with error bars, published ones as hollow marks: a panel per measure."""
    panels = [_loss_panel(_title(data, points), points) for (data, *_), points in _in_blocks(comparison.blocks).items()]
    for table in comparison.own_tables:
        for index, (_, kind) in enumerate(table.columns):
            # The number of decimals in the paper. The table has more.
            if table.classifier is None or kind not in FEATURE_TRANSFORMS[table.classifier]:
                continue
            own = {
                row.name: _Point(row.candidate.configuration, row.measurements[index])
                for row in table.rows
                if row.measurements[index].values
            }
            panels.append(_loss_panel(_title(table.data_title, own), own))
    return panels


def _draw_powers(figure: Figure, colors: dict[str, str], points: dict[str, _Point], lines: dict[str, _Point]) -> None:
    axes = figure.subplots()
    powers = [point.configuration.power for point in points.values()]
    found = [point.measurement for point in points.values()]
    means, errors = [one.mean or 0.0 for one in found], [one.error or 0.0 for one in found]
    axes.errorbar(powers, means, yerr=errors, fmt="o-", color=colors["spectral"], markersize=5, capsize=3)
    papers = [(power, one.published) for power, one in zip(powers, found, strict=True) if one.published is not None]
    if papers:
        axes.plot(*zip(*papers, strict=True), "D", color=colors["spectral"], markerfacecolor="none", markersize=5)
    labels = [
        (point.measurement.mean or 0.0, name, colors[color_of(point.configuration)]) for name, point in lines.items()
    ]
    for mean, _, color in labels:
        axes.axhline(mean, color=color, linewidth=1.2, linestyle="--")
    axes.set_xlim(0.05, 0.55)
    axes.set_xticks((0.1, 0.2, 0.3, 0.4, 0.5))
    axes.set_ylim(*_limits([*points.values(), *lines.values()]))
    label_right(axes, labels, LINE / 2.0)
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.set_xlabel("power p")
    axes.set_ylabel("accuracy (%)")


def power_panels(blocks: Sequence[Block]) -> list[Panel]:
    """Draws the spectral sum's accuracy against its power p, the losses without it as lines.

    Args:
        blocks: the paper's tables.

    Returns:
        A panel per data set, measure, metric loss and setting.
    """
    panels = []
    for (data, *_), entries in _in_blocks([block for block in blocks if block.table == 6]).items():
        for metric in ("nca", "proto"):
            spectral: dict[str, dict[str, _Point]] = collections.defaultdict(dict)
            for name, point in sorted(entries.items(), key=lambda item: item[1].configuration.power):
                if color_of(point.configuration) == "spectral" and point.configuration.metric_loss == metric:
                    # Each combination of settings has a separate curve.
                    before, _, after = name.partition(" p=")
                    spectral[before + after.partition(" ")[2]][name] = point
            lines = {
                name: point
                for name, point in entries.items()
                if color_of(point.configuration) != "spectral" and point.configuration.metric_loss in (metric, "none")
            }
            for group, points in spectral.items():
                title = f"{group}, {_title(data, points)}"

                draw = functools.partial(_draw_powers, points=points, lines=lines)
                panels.append(panel(draw, 2.6, title, f"{title}: {_in_words({**points, **lines})}."))
    return panels
