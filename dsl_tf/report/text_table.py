"""Tables for the screen."""

from collections.abc import Sequence


def aligned(columns: Sequence[Sequence[str]]) -> list[list[str]]:
    """Pads the texts of each column on the left to the same length."""
    return [[text.rjust(max(map(len, column), default=0)) for text in column] for column in columns]


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Formats a table: a header, a rule and the rows, with columns two spaces apart.

    Args:
        header: the names of the columns.
        rows: a text per column, or a single text for a line across the table.

    Returns:
        Lines of text.
    """
    cells = [header, *(row for row in rows if len(row) > 1)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        row[0]
        if len(row) == 1
        else "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [header, *rows]
    ]
    return "\n".join([lines[0], "  ".join("─" * width for width in widths), *lines[1:]])
