"""Tables of plain text cells, which the formats only escape and frame."""

import dataclasses
import statistics

from dsl_tf.experiments import DISCRIMINANT_SCORES, FEATURE_TRANSFORMS
from dsl_tf.report.candidates import (
    accuracy_entries,
    choose_entry,
    choose_ways,
    data_key,
    describe,
    gather,
    loss_key,
    loss_title,
)

MISSING = "missing"
NOTHING = "–"
_CLASSIFIERS = {"nearest_centroid": "nearest class centroid", "laplacian_shot": "LaplacianShot"}
_FEATURES = {"none": "raw features", "l2": "l2-normalised features", "cl2": "centred, l2-normalised features"}
# Where the classification and the metric loss act, in the paper's words of Table 3.
_PROJECTIONS = {
    "SCE": "W, –",
    "NCA": "–, I",
    "SCE⊕NCA (ours)": "W, W⊥",
    "i-1": "W, I",
    "i-2": "W, W",
    "ii-1": "R, R⊥",
    "ii-2": "I_C, I_C⊥",
}


@dataclasses.dataclass(frozen=True)
class Layout:
    """A table of text.

    Args:
        title: what it shows.
        columns: pairs of a group's name, `""` for none, and the column's own.
        rows: pairs of the heading that the row stands under, or None, and its cells, strings.
        notes: sentences below it.
        is_measured: whether it holds anything but published numbers.
    """

    title: str
    columns: tuple
    rows: tuple
    notes: tuple = ()
    is_measured: bool = True


def with_error(value, error, digits=2):
    """Formats `"65.16 ± 0.20"`; an error of None is left out, a value of None is missing."""
    if value is None:
        return MISSING
    return f"{value:.{digits}f}" if error is None else f"{value:.{digits}f} ± {error:.{digits}f}"


def signed(value):
    """Formats a difference with its sign, `"+0.12"` or `"−0.12"`; None is nothing to tell."""
    if value is None:
        return NOTHING
    text = f"{value:+.2f}"
    return "0.00" if text[1:] == "0.00" else text.replace("-", "−")


def _row_name(cell):
    return f"{cell.name} ({_PROJECTIONS[cell.name]})" if cell.table == 3 else cell.name


def _protocol(block):
    """Says how a block's accuracies were measured, from what the runs recorded."""
    pairs = {pair for row in block.rows for measurement in row.measurements for pair in measurement.protocol}
    if not pairs:
        return f"{block.ways}-way"

    def span(values):
        low, high = min(values), max(values)
        return f"{low:,}" if low == high else f"{low:,} to {high:,}"

    queries, episodes = zip(*pairs, strict=True)
    return f"{block.ways}-way, {span(queries)} queries a way, {span(episodes)} episodes"


def block_layout(block):
    """Lays out a table of the paper on one data set."""
    columns = [("", "loss")]
    for shots in block.shots:
        columns += [(f"{shots}-shot (%)", name) for name in ("measured", "published", "difference")]
    columns += [("", "seeds"), ("", "N×K")]
    rows = []
    for row in block.rows:
        cells = [_row_name(row.cell)]
        for measurement in row.measurements:
            cells += [
                with_error(measurement.mean, measurement.error),
                NOTHING if measurement.published is None else f"{measurement.published:.2f}",
                signed(measurement.difference),
            ]
        shape = row.picked.batch_shape.replace("x", "×") if row.picked else NOTHING
        rows.append((row.heading, (*cells, str(row.seeds) if row.picked else NOTHING, shape)))
    legend = (
        ("In brackets: the subspaces that the classification and the metric loss see.",) if block.table == 3 else ()
    )
    title = (
        f"Table {block.table}, {block.data_title}: {_CLASSIFIERS[block.classifier]} on "
        f"{_FEATURES[block.feature_transform]}, {_protocol(block)}"
    )
    return Layout(title, tuple(columns), tuple(rows), (*block.notes, *legend), block.is_measured)


def scores_layout(comparison):
    """Lays out the discriminant scores of test features as in Table 1, or returns None where no run has any."""
    groups = {}
    for run in comparison.runs:
        if run.state == "finished" and run.results.get("discriminant_scores"):
            groups.setdefault((data_key(run), loss_key(run.configuration)), []).append(run)
    rows = []
    for (key, _), runs in groups.items():
        candidates = gather(runs)
        for candidate in candidates:
            name = loss_title(candidate.configuration)
            papers = DISCRIMINANT_SCORES.get(name, {}) if key == "mini_imagenet" else {}
            cells = [name]
            for subspace in ("classifier_subspace", "complement"):
                values = [run.results["discriminant_scores"][subspace] for run in candidate.runs]
                spread = statistics.stdev(values) if len(values) > 1 else None
                number = f"{papers[subspace]:.2f}" if subspace in papers else NOTHING
                cells += [with_error(statistics.fmean(values), spread, digits=3), number]
            cells += [str(len(candidate.runs)), describe(candidate, candidates)]
            rows.append((comparison.data_titles[key], tuple(cells)))
    if not rows:
        return None
    columns = [("", "loss")]
    columns += [(space, name) for space in ("in span(W)", "in its complement") for name in ("measured", "published")]
    title = "Table 1: discriminant score of test features, 0 to 1"
    return Layout(title, (*columns, ("", "seeds"), ("", "N×K")), tuple(rows))


def _all_accuracies(run, feature_transform):
    """Returns a run's test accuracies in one line."""
    parts = []
    for classifier in _CLASSIFIERS:
        entries = accuracy_entries(run, classifier, feature_transform or FEATURE_TRANSFORMS[classifier][0])
        ways = choose_ways(entries)
        for shots in sorted({entry["shots"] for entry in entries if entry["ways"] == ways}):
            entry = choose_entry(entries, ways, shots)
            accuracy = with_error(100 * entry["accuracy"], 100 * entry["half_width"])
            parts.append(f"{_CLASSIFIERS[classifier]}, {ways}-way {shots}-shot: {accuracy}%")
    return "; ".join(parts) or MISSING


def others_layout(comparison):
    """Lays out the finished runs that are in no table above, or returns None."""
    rows = tuple(
        (
            comparison.data_titles[data_key(run)],
            (
                loss_title(run.configuration),
                f"{run.configuration.ways}×{run.configuration.shots}",
                _all_accuracies(run, comparison.feature_transform),
                run.directory,
            ),
        )
        for run in comparison.others
    )
    columns = (("", "loss"), ("", "N×K"), ("", "test accuracies"), ("", "directory"))
    return Layout("Other runs", columns, rows) if rows else None


def unfinished_layout(comparison):
    """Lays out the runs without results, or returns None."""
    rows = []
    for run in comparison.runs:
        if run.state == "unreadable":
            rows.append((None, (run.directory, run.state, run.problem)))
        elif run.state == "unfinished":
            epoch = int(max((record["epoch"] for record in run.metrics), default=0))
            logged = f"{loss_title(run.configuration)}, epoch {epoch} of {run.configuration.epochs} logged"
            rows.append((None, (run.directory, run.state, logged)))
    columns = (("", "directory"), ("", "state"), ("", "what is known"))
    return Layout("Runs without results", columns, tuple(rows)) if rows else None


def layouts(comparison):
    """Lays out all tables of a report.

    Returns:
        A list of `Layout`.
    """
    tables = [block_layout(block) for block in comparison.blocks]
    further = (scores_layout(comparison), others_layout(comparison), unfinished_layout(comparison))
    return tables + [layout for layout in further if layout]


def summary(comparison):
    """Says in a few sentences what was run."""
    runs = comparison.runs
    counts = [(sum(run.state == state for run in runs), state) for state in ("finished", "unfinished", "unreadable")]
    readable = [run for run in runs if run.configuration]
    # A sweep of the spectral sum is one loss with several powers.
    powers = {}
    for run in readable:
        name, sign, power = loss_title(run.configuration).partition(" p=")
        powers.setdefault(name + sign, set()).add(power)
    losses = [name + "/".join(sorted(values)) for name, values in powers.items()]
    data = list(dict.fromkeys(comparison.data_titles[data_key(run)] for run in readable))
    seeds = sorted({run.configuration.seed for run in readable})
    sentences = [
        f"{len(runs)} {'run' if len(runs) == 1 else 'runs'}: "
        + ", ".join(f"{count} {state}" for count, state in counts if count)
        + "."
    ]
    if readable:
        sentences += [f"Losses: {', '.join(losses)}.", f"Data: {', '.join(data)}."]
        sentences += [f"{'Seed' if len(seeds) == 1 else 'Seeds'}: {', '.join(map(str, seeds))}."]
    return " ".join(sentences)


READING = (
    "Accuracies are percent of the queries of few-shot episodes over test classes, none of them seen in training. "
    "± is the sample standard deviation over seeds where there are several, and the 95% confidence half-width over the "
    "episodes where there is one. A difference is measured minus published."
)
