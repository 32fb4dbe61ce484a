"""Write measurements as plain text."""

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table


def plain_table(columns: Sequence[str], rows: Iterable[Sequence[str] | None], title: str | None = None) -> str:
    """Return a table for a terminal without colours: the first column to the left, numbers to the right.

    Args:
        columns: Headings.
        rows: Cells of each row; None draws a line.
        title: Text above the table.
    """
    table = Table(box=box.SIMPLE, title=title, title_justify='left', title_style='')
    for number, column in enumerate(columns):
        table.add_column(column, justify='right' if number else 'left')
    for row in rows:
        table.add_section() if row is None else table.add_row(*row)
    console = Console(width=110, color_system=None)
    with console.capture() as text:
        console.print(table)
    return '\n'.join(line.rstrip() for line in text.get().splitlines())
