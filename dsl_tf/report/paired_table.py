"""Differences between runs as a matrix on the screen."""

import numpy as np

from dsl_tf.report.wording import signed, with_error

# Columns of a terminal.
_WIDTH = 100


def _aligned(numbers, style):
    """Formats the numbers of a matrix in percent with a function, to texts of one length."""
    texts = [[style(100 * number) for number in row] for row in numbers]
    length = max(len(text) for row in texts for text in row)
    return [[text.rjust(length) for text in row] for row in texts]


def _cells(matrix):
    """Formats the differences with their half-widths, a list of lists of texts of one length."""
    half_widths = [matrix.episodes_half_widths]
    if np.isfinite(matrix.seeds_half_widths).any():
        half_widths += [matrix.seeds_half_widths]
    cells = _aligned(matrix.differences, signed)
    for part in half_widths:
        excludes_zero = np.abs(matrix.differences) > part
        for row, texts in enumerate(_aligned(part, "{:.2f}".format)):
            for column, text in enumerate(texts):
                found = f" ± {text}{'*' if excludes_zero[row, column] else ' '}"
                cells[row][column] += " " * len(found) if np.isnan(part[row, column]) else found
    for index, row in enumerate(cells):
        row[index] = "·".center(len(row[index]))
    return cells


def _lines(header, rows):
    """Lays out a table of text."""
    table = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]
    return [lines[0], "  ".join("─" * width for width in widths), *lines[1:]]


def _notes(matrix):
    """Says what the intervals hold, in lines."""
    has_seeds = np.isfinite(matrix.seeds_half_widths)
    notes = ["±  half of a 95% interval, from the differences episode by episode: these networks, other episodes"]
    if has_seeds.any():
        notes += ["   the second one, from the differences between seeds: other trainings, these episodes"]
    if not has_seeds.all():
        notes += ["   where a run has one seed, trainings with other seeds may differ by more than that"]
    notes += ["*  the interval excludes 0"]
    pairs = len(matrix.names) * (len(matrix.names) - 1) // 2
    if pairs > 1:
        notes += [f"   of {pairs} differences that are truly 0, {0.05 * pairs:.1f} would be marked on average"]
    return notes


def paired_table(matrix):
    """Lays out differences in accuracy, a line and a column for each run, in percentage points.

    Where that is wider than 100 columns, numbers stand for the names, and the columns that are left follow below.

    Args:
        matrix: a `PairedMatrix`.

    Returns:
        Lines of text: row minus column ± its 95% confidence half-widths, marked where the interval excludes 0.
    """
    cells = _cells(matrix)
    header = ["accuracy (%)"]
    rows = [[with_error(*numbers)] for numbers in zip(100 * matrix.accuracies, 100 * matrix.half_widths, strict=True)]
    if any(len(found) > 1 for found in matrix.seed_accuracies):
        header += ["seeds"]
        rows = [[*row, str(len(found))] for row, found in zip(rows, matrix.seed_accuracies, strict=True)]
    rows = [[name, *row] for name, row in zip(matrix.names, rows, strict=True)]
    title = f"Differences in accuracy on the same {matrix.episodes} episodes, row minus column, in percentage points"
    whole = _lines(["", *header, *(f"− {name}" for name in matrix.names)], [a + b for a, b in zip(rows, cells)])
    if len(whole[1]) <= _WIDTH:
        return "\n".join([title, "", *whole, "", *_notes(matrix)])
    numbers = [f"[{number}]" for number in range(1, len(rows) + 1)]
    numbers = [number.rjust(len(numbers[-1])) for number in numbers]
    lines = [title, "", *_lines(["", "", *header], [[number, *row] for number, row in zip(numbers, rows)])]
    columns = max(1, (_WIDTH - len(numbers[-1])) // (len(cells[0][0]) + 2))
    for start in range(0, len(rows), columns):
        part = slice(start, start + columns)
        block = [[number, *row[part]] for number, row in zip(numbers, cells, strict=True)]
        lines += ["", *_lines(["", *(f"− {number.strip()}" for number in numbers[part])], block)]
    return "\n".join([*lines, "", *_notes(matrix)])
