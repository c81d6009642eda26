"""What a report says: its heading, sentences and tables."""

from dsl_tf.report.candidates import data_key, finished_runs
from dsl_tf.report.comparison import Comparison
from dsl_tf.report.known_classes import known_layout
from dsl_tf.report.layout import Layout, block_layout, own_layout, scores_layout, unfinished_layout
from dsl_tf.report.own_data import OwnTable
from dsl_tf.report.paired_layout import paired_layout
from dsl_tf.runs.titles import loss_title


def layouts(comparison: Comparison) -> list[Layout]:
    """Lays out all tables of a report."""
    tables = [block_layout(block) for block in comparison.blocks]
    tables += [own_layout(table) for table in comparison.own_tables]
    further = (
        *_paired_layouts(comparison),
        *_known_layouts(comparison),
        scores_layout(comparison),
        unfinished_layout(comparison),
    )
    return tables + [layout for layout in further if layout]


def _paired_layouts(comparison: Comparison) -> list[Layout | None]:
    tables: dict[str, list[OwnTable]] = {}
    for table in comparison.own_tables:
        if table.classifier is not None:
            tables.setdefault(table.data_title, []).append(table)
    return [paired_layout(data_title, found) for data_title, found in tables.items()]


def _known_layouts(comparison: Comparison) -> list[Layout | None]:
    return [known_layout(comparison.data_titles[key], runs) for key, runs in finished_runs(comparison.runs).items()]


def _has_few_shot(comparison: Comparison) -> bool:
    return comparison.has_published or bool(comparison.own_tables) or not any(_known_layouts(comparison))


def title(comparison: Comparison) -> str:
    """Returns the heading of a report."""
    if not _has_few_shot(comparison):
        return "Accuracies on known classes"
    return "Few-shot accuracies, measured and published" if comparison.has_published else "Few-shot accuracies"


def summary(comparison: Comparison) -> str:
    """Returns a few sentences on what was run."""
    runs = comparison.runs
    counts = [(sum(run.state == state for run in runs), state) for state in ("finished", "unfinished", "unreadable")]
    configurations = [run.configuration for run in runs if run.configuration]
    # Runs of the spectral sum with several powers count as one loss.
    powers: dict[str, set[str]] = {}
    for configuration in configurations:
        name, sign, power = loss_title(configuration).partition(" p=")
        powers.setdefault(name + sign, set()).add(power)
    losses = [name + "/".join(sorted(values)) for name, values in powers.items()]
    data = list(dict.fromkeys(comparison.data_titles[data_key(run)] for run in runs if run.configuration))
    seeds = sorted({configuration.seed for configuration in configurations})
    sentences = [
        f"{len(runs)} {'run' if len(runs) == 1 else 'runs'}: "
        + ", ".join(f"{count} {state}" for count, state in counts if count)
        + "."
    ]
    if configurations:
        sentences += [f"Losses: {', '.join(losses)}.", f"Data: {', '.join(data)}."]
        sentences += [f"{'Seed' if len(seeds) == 1 else 'Seeds'}: {', '.join(map(str, seeds))}."]
    return " ".join(sentences)


def reading(comparison: Comparison) -> str:
    """Returns an explanation of the tables."""
    if not _has_few_shot(comparison):
        return (
            "Accuracies are in percent of the held-out images. ± is the sample standard deviation over seeds. Columns "
            "raw, l2 and cl2: features as they are, scaled to length 1, and scaled after subtracting the training mean."
        )
    text = (
        "Accuracies are in percent of the queries in few-shot episodes over test classes, which training has not seen. "
        "± is the sample standard deviation over seeds if there are several, and the 95% confidence half-width over "
        "the episodes if there is one. Columns raw, l2 and cl2: features as they are, scaled to length 1, and "
        "scaled after subtracting the training mean."
    )
    if comparison.has_published:
        text += (
            " A difference is measured minus published. A letter in brackets marks rows with other settings than the "
            "paper's cell; the note below the table lists them."
        )
    return text
