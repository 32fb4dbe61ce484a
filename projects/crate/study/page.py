"""A page of results: one HTML file with its pictures inside, to be opened from disk."""

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from matplotlib.figure import Figure

from ..files import atomic, make_folder

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.2rem; }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }
th, td { padding: .3rem .8rem; text-align: right; white-space: nowrap; vertical-align: top; }
.text :is(th, td) { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 5rem; }
th { border-bottom: 2px solid #999; } td { border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; }
figure { margin: 1rem 0; } figure img { max-width: 100%; } figcaption { color: #555; font-size: .9rem; }
pre { background: #f4f4f4; padding: .8rem; white-space: pre-wrap; overflow-wrap: anywhere; font-size: .85rem; }
@media (max-width: 40rem) { th, td { padding: .3rem .4rem; font-size: .85rem; } }
.row { display: flex; flex-wrap: wrap; gap: 1rem; } .row > * { flex: 1 1 20rem; }
"""


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f'<p>{escape(text)}</p>'


def heading(text: str) -> str:
    """The heading of a section."""
    return f'<h2>{escape(text)}</h2>'


def listing(lines: Iterable[str]) -> str:
    """Lines as they are typed."""
    text = '\n'.join(lines)
    return f'<pre>{escape(text)}</pre>'


def table(header: Sequence[str], rows: Iterable[Sequence[object]], is_text: bool = False) -> str:
    """A table of numbers, on a narrow screen to be scrolled, or of text, whose lines are broken; cells become text."""

    def line(tag: str, cells: Sequence[object]) -> str:
        return '<tr>' + ''.join(f'<{tag}>{escape(str(cell))}</{tag}>' for cell in cells) + '</tr>'

    opening = '<table class="text">' if is_text else '<table>'
    return opening + line('th', header) + ''.join(line('td', row) for row in rows) + '</table>'


def picture(figure: Figure, caption: str) -> str:
    """A figure as a PNG inside the page; the caption is its alternative text too."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png', dpi=130)
    data = base64.b64encode(buffer.getvalue()).decode('ascii')
    text = escape(caption)
    return f'<figure><img src="data:image/png;base64,{data}" alt="{text}"><figcaption>{text}</figcaption></figure>'


def side_by_side(*parts: str) -> str:
    """Parts in one row where the window is wide enough."""
    return f'<div class="row">{"".join(parts)}</div>'


def write_page(path: Path, title: str, parts: Iterable[str]) -> None:
    """Write the page in one step: a reader sees the old page or the new one, never half of it."""
    body = '\n'.join(parts)
    text = (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<style>{STYLE}</style></head>\n<body><h1>{escape(title)}</h1>\n{body}\n</body></html>\n'
    )
    make_folder(path.parent)
    with atomic(path) as part:
        part.write_text(text, encoding='utf-8', errors='backslashreplace')  # names of files may be no text
