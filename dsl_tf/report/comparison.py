"""Runs in the cells of the paper's tables, beside what it published."""

import collections
import dataclasses
import pathlib
import statistics

from dsl_tf.experiments import Cell, cells, published
from dsl_tf.report.candidates import (
    Candidate,
    accuracy_entries,
    cell_key,
    choose_entry,
    choose_ways,
    data_key,
    describe,
    differing_flags,
    gather,
    loss_key,
    pick,
)

TABLES = (3, 4, 5, 6)
_TITLES = {
    "mini_imagenet": "mini-ImageNet",
    "tiered_imagenet": "tiered-ImageNet",
    "cub": "CUB200 few-shot",
    "cifar_fs": "Cifar100 few-shot",
    "meta_inat": "iNaturalist-2017",
    "arrays": "arrays from Python",
}
_HEADINGS = {
    "sum": "Sum loss (6)",
    "direct_sum": "Direct-sum loss (7)",
    "spectral_sum": "Spectral-sum loss (11)",
}
_PAPER_DATA = {table: tuple(dict.fromkeys(cell.dataset for cell in cells(table))) for table in TABLES}


@dataclasses.dataclass(frozen=True)
class Measurement:
    """An accuracy beside the published one; all in percent.

    Args:
        shots: K of the few-shot task.
        values: the seeds' accuracies, floats; empty where it was not measured.
        episodes_half_width: the 95% confidence half-width of the first seed's; None where it was not measured.
        published: the paper's, or None.
        protocol: queries and episodes of the seeds, a tuple of pairs.
    """

    shots: int
    values: tuple
    episodes_half_width: float | None
    published: float | None
    protocol: tuple = ()

    @property
    def mean(self):
        """The mean over seeds, or None."""
        return statistics.fmean(self.values) if self.values else None

    @property
    def spread(self):
        """The sample standard deviation over seeds; None under two."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def half_width(self):
        """The 95% confidence half-width over the episodes of one seed; None for several."""
        return self.episodes_half_width if len(self.values) == 1 else None

    @property
    def error(self):
        """What stands after ±: the spread of several seeds, or the half-width of one."""
        return self.half_width if self.spread is None else self.spread

    @property
    def difference(self):
        """Measured minus published, or None."""
        return None if self.mean is None or self.published is None else self.mean - self.published


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a table on one data set: the `Cell`, its `Measurement`s and the `Candidate` they are of (or None)."""

    cell: Cell
    heading: str
    measurements: tuple
    picked: Candidate | None
    candidates: tuple

    @property
    def seeds(self):
        """The number of seeds, 0 where nothing was measured."""
        return len(self.picked.runs) if self.picked else 0


@dataclasses.dataclass(frozen=True)
class Block:
    """A table of the paper on one data set, with notes for its readers."""

    table: int
    data_title: str
    ways: int
    shots: tuple
    rows: tuple
    notes: tuple
    feature_transform: str

    @property
    def classifier(self):
        """The few-shot classifier of the table."""
        return self.rows[0].cell.classifier

    @property
    def is_measured(self):
        """Whether any of its cells was."""
        return any(row.picked for row in self.rows)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """All that a report shows: runs, `Block`s in the order of the tables, and the finished runs in none of them."""

    runs: tuple
    blocks: tuple
    others: tuple
    feature_transform: str | None
    data_titles: dict


def _data_titles(keys):
    """Names the data sets: the paper's own, folders by their last part, or whole where two end alike."""
    paths = {key: key.removeprefix("folder:") for key in keys}
    names = {
        key: _TITLES.get(key, (pathlib.PurePath(path).name or path) if path != key else key)
        for key, path in paths.items()
    }
    counts = collections.Counter(names.values())
    return {key: name if counts[name] == 1 else paths[key] for key, name in names.items()}


def _heading(cell):
    """Returns the heading that a table has above a row."""
    alone = "none" in (cell.flags["classification_loss"], cell.flags["metric_loss"])
    if cell.table == 3:
        ablations = {"i": "i) Subspace separation", "ii": "ii) Classifier subspace"}
        return ablations.get(cell.name.partition("-")[0], "Individual losses" if alone else "Direct-sum loss (7)")
    if alone:
        return "Classification loss" if cell.flags["metric_loss"] == "none" else "Metric loss"
    return _HEADINGS[cell.flags["integration"]]


def _measure(candidate, cell, ways, shots, feature_transform):
    """Averages a candidate's accuracies over its seeds."""
    found = []
    for run in candidate.runs if candidate else ():
        entry = choose_entry(accuracy_entries(run, cell.classifier, feature_transform), ways, shots)
        found += [entry] if entry else []
    return Measurement(
        shots,
        tuple(100 * entry["accuracy"] for entry in found),
        100 * found[0]["half_width"] if found else None,
        (published(cell.table, cell.dataset, cell.name) or {}).get(shots),
        tuple((entry["queries"], entry["episodes"]) for entry in found),
    )


def _pick_note(row):
    """Says in a sentence which of several candidates a row shows, and why."""
    if len(row.candidates) < 2:
        return None

    def name(candidate):
        value = candidate.validation_accuracy
        accuracy = "no validation accuracy" if value is None else f"{100 * value:.2f}%"
        return f"{describe(candidate, row.candidates)} ({accuracy}, seeds: {len(candidate.runs)})"

    others = ", ".join(name(candidate) for candidate in row.candidates if candidate is not row.picked)
    if row.picked.validation_accuracy is None:
        return (
            f"{row.cell.name}: {name(row.picked)} is the first of several, not picked by validation; beside {others}."
        )
    return f"{row.cell.name}: {name(row.picked)} was picked by its mean best validation accuracy, over {others}."


def _notes(rows):
    notes = [note for note in map(_pick_note, rows) if note]
    picked = [row.picked for row in rows if row.picked]
    differing = [
        name
        for name in differing_flags([candidate.configuration for candidate in picked])
        if name not in ("ways", "shots")
    ]
    if differing:
        notes.append(
            f"Beside loss and batch shape, these rows differ in {', '.join('--' + name for name in differing)}."
        )
    if any(candidate.configuration.allow_partial for candidate in picked):
        notes.append("Some of these runs accepted a data set with fewer images than published (--allow_partial).")
    repeats = [run.directory for candidate in picked for run in candidate.repeats]
    if repeats:
        notes.append(f"Not averaged, because another run has the same flags and seed: {', '.join(repeats)}.")
    return tuple(notes)


def _block(table, key, titles, runs, feature_transform):
    """Fills a table on one data set."""
    table_cells = cells(table, datasets=(key,))
    classifier = table_cells[0].classifier
    feature_transform = feature_transform or table_cells[0].feature_transforms[0]
    entries = {id(run): accuracy_entries(run, classifier, feature_transform) for run in runs}
    is_papers = key in _PAPER_DATA[table]
    ways = 5 if is_papers else choose_ways([entry for found in entries.values() for entry in found])
    found_shots = sorted({entry["shots"] for found in entries.values() for entry in found if entry["ways"] == ways})
    shots = (1, 5) if is_papers or not found_shots else tuple(found_shots)
    shots = shots[:1] if table == 3 else shots
    able = [run for run in runs if any(entry["ways"] == ways and entry["shots"] in shots for entry in entries[id(run)])]
    rows = []
    for cell in table_cells:
        candidates = gather([run for run in able if loss_key(run.configuration) == cell_key(cell)])
        picked = pick(candidates) if candidates else None
        measurements = tuple(_measure(picked, cell, ways, shot, feature_transform) for shot in shots)
        rows.append(Row(cell, _heading(cell), measurements, picked, candidates))
    return Block(table, titles[key], ways, shots, tuple(rows), _notes(rows), feature_transform)


def _is_at_home(block, key):
    """Whether a data set that the paper's table does not have is worth a column: with a row of this table alone."""
    homes = [table for table in (3, 4, 6) if key in _PAPER_DATA[table]] or [4]
    if block.table == 5 or block.table in homes:
        return block.is_measured
    elsewhere = {cell_key(cell) for table in homes for cell in cells(table)}
    return any(row.picked and cell_key(row.cell) not in elsewhere for row in block.rows)


def compare(runs, tables=None, feature_transform=None):
    """Puts finished runs into the cells of the paper's tables.

    Args:
        runs: a sequence of `Run`.
        tables: numbers of the paper's tables; those with a run where None.
        feature_transform: `"none"`, `"l2"` or `"cl2"`; that of each table's few-shot classifier where None.

    Returns:
        A `Comparison`.
    """
    finished = {}
    for run in runs:
        if run.state == "finished":
            finished.setdefault(data_key(run), []).append(run)
    papers = dict.fromkeys(key for keys in _PAPER_DATA.values() for key in keys)
    titles = _data_titles(
        [*papers, *(data_key(run) for run in runs if run.configuration and data_key(run) not in papers)]
    )
    blocks = []
    for table in TABLES if tables is None else tables:
        papers_keys = _PAPER_DATA[table]
        papers_blocks = [_block(table, key, titles, finished.get(key, ()), feature_transform) for key in papers_keys]
        found = [
            (key, _block(table, key, titles, finished[key], feature_transform))
            for key in finished
            if key not in papers_keys
        ]
        own = [block for key, block in found if (block.is_measured if tables else _is_at_home(block, key))]
        # Without a run on the paper's data, its numbers would stand beside nothing, unless they were asked for.
        if tables or any(block.is_measured for block in papers_blocks):
            own = papers_blocks + own
        blocks += sorted(own, key=lambda block: not block.is_measured)
    used = {
        run.directory
        for block in blocks
        for row in block.rows
        for candidate in row.candidates
        for run in (*candidate.runs, *candidate.repeats)
    }
    others = tuple(run for run in runs if run.state == "finished" and run.directory not in used)
    return Comparison(tuple(runs), tuple(blocks), others, feature_transform, titles)
