"""Tables as text: aligned columns for a terminal, pipes for Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def plain(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns: the first to the left, the others to the right."""
    table = [list(header), *map(list, rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]

    def line(row: Sequence[str]) -> str:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        return "  ".join(cells).rstrip()

    return "\n".join([line(table[0]), line(["-" * w for w in widths]), *map(line, table[1:])])


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, numbers to the right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    lines = [header, rule, *rows]
    return "\n".join("| " + " | ".join(_escaped(cell) for cell in row) + " |" for row in lines)


def _escaped(cell: str) -> str:
    # The backslash first: before a bar of the cell's own it would undo the bar's escape.
    text = " ".join(cell.splitlines()).replace("\\", "\\\\")
    return text.replace("|", "\\|").replace("<", "&lt;")
