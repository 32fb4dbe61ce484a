"""Tables of results as HTML, Markdown and text."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from rich.console import Console
from rich.table import Table as TextTable


class Table(NamedTuple):
    """A table of results."""

    header: Sequence[str]
    rows: Sequence[Sequence[object]]  # cells become text
    is_text: bool = False  # text, whose lines may be broken; else numbers, aligned to the right


def write_table(table: Table, style: str) -> str:
    """Return a table in a style: 'html', 'md' (Markdown) or 'text' (a frame of lines, 110 characters wide)."""
    lines = [[str(cell) for cell in cells] for cells in (table.header, *table.rows)]
    if style == 'html':
        tags = ['th', *['td'] * len(table.rows)]
        cells = (''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in line) for tag, line in zip(tags, lines))
        opening = '<table class="text">' if table.is_text else '<table>'
        return f'{opening}{"".join(f"<tr>{line}</tr>" for line in cells)}</table>'
    if style == 'md':
        lines.insert(1, ['---'] * len(table.header))
        escaped = ([cell.replace('|', r'\|').replace('*', r'\*') for cell in line] for line in lines)
        return '\n'.join(f'| {" | ".join(line)} |' for line in escaped)
    made = TextTable(*table.header)
    for line in lines[1:]:
        made.add_row(*line)
    console = Console(width=110, color_system=None)
    with console.capture() as text:
        console.print(made)
    return '\n'.join(line.rstrip() for line in text.get().splitlines())


def with_interval(values: Sequence[float], style: str) -> str:
    """Return '1.2 [0.8, 1.7]' of a number and the ends of its interval, or '1.2' of a number alone; style '.1f'."""
    value, *ends = (f'{each:{style}}' for each in values)
    return f'{value} [{", ".join(ends)}]' if ends else value
