"""Tables of results as HTML, Markdown and plain text."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table as TextTable


class Table(NamedTuple):
    """A table of results."""

    header: Sequence[str]
    rows: Sequence[Sequence[object]]  # cells become text
    is_text: bool = False  # text, whose lines may be broken; else numbers, aligned to the right


def write_table(table: Table, style: str) -> str:
    """Return a table in a style: 'html' or 'md' (Markdown)."""
    lines = [[str(cell) for cell in cells] for cells in (table.header, *table.rows)]
    if style == 'html':
        tags = ['th', *['td'] * len(table.rows)]
        cells = (''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in line) for tag, line in zip(tags, lines))
        opening = '<table class="text">' if table.is_text else '<table>'
        return f'{opening}{"".join(f"<tr>{line}</tr>" for line in cells)}</table>'
    lines.insert(1, ['---'] * len(table.header))
    escaped = ([cell.replace('|', r'\|').replace('*', r'\*') for cell in line] for line in lines)
    return '\n'.join(f'| {" | ".join(line)} |' for line in escaped)


def plain_table(columns: Sequence[str], rows: Iterable[Sequence[str] | None], title: str | None = None) -> str:
    """Return a table for a terminal without colours: the first column to the left, numbers to the right.

    A row None draws a line. The title is above the table.
    """
    table = TextTable(box=box.SIMPLE, title=title, title_justify='left', title_style='')
    for number, column in enumerate(columns):
        table.add_column(column, justify='right' if number else 'left')
    for row in rows:
        table.add_section() if row is None else table.add_row(*row)
    console = Console(width=110, color_system=None)
    with console.capture() as text:
        console.print(table)
    return '\n'.join(line.rstrip() for line in text.get().splitlines())


def with_interval(values: Sequence[float], style: str) -> str:
    """Return '1.2 [0.8, 1.7]' of a number and the ends of its interval, or '1.2' of a number alone; style '.1f'."""
    value, *ends = (f'{each:{style}}' for each in values)
    return f'{value} [{", ".join(ends)}]' if ends else value
