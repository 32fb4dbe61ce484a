"""Measurements as plain text."""

from rich.console import Console
from rich.table import Table


def plain_text(table: Table) -> str:
    """A table as a terminal without colours shows it, without blanks at the ends of lines."""
    console = Console(width=110, color_system=None)
    with console.capture() as text:
        console.print(table)
    return '\n'.join(line.rstrip() for line in text.get().splitlines())
