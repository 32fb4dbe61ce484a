"""Pages of results, from the templates beside this file."""

import base64
import io
import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from ..files import atomic, make_folder
from .tables import Table, write_table

TEMPLATES = Path(__file__).with_name('templates')


def write_page(path: Path, template: str, **content: object) -> None:
    """Write a page from ``templates/{template}.jinja`` and its content in one step.

    A page '.html' is one file with its pictures inside; a page '.md' has them beside it. Filters of the templates:
    ``table`` writes a :class:`Table`, ``source`` a figure, and ``one_line`` joins the lines of a text.
    """
    style = path.suffix[1:]
    make_folder(path.parent)
    numbers = iter(range(1, 1000))

    def table(value: Table) -> Markup:
        return Markup(write_table(value, style))

    def source(figure: Figure) -> str:
        data = png(figure)
        if style == 'html':
            return f'data:image/png;base64,{base64.b64encode(data).decode("ascii")}'
        name = f'{path.stem}-{next(numbers)}.png'
        with atomic(path.with_name(name)) as part:
            part.write_bytes(data)
        return name

    options = dict(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=style == 'html', **options)
    environment.filters.update(table=table, source=source, one_line=lambda text: type(text)(' '.join(text.split())))
    environment.globals['style'] = style
    text = environment.get_template(f'{template}.jinja').render(content)
    if style == 'md':
        text = re.sub(r'\n{3,}', '\n\n', text).strip() + '\n'
    with atomic(path) as part:
        part.write_text(text, encoding='utf-8', errors='backslashreplace')  # names of files may be no text


def png(figure: Figure) -> bytes:
    """Return a figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png', dpi=130)
    return buffer.getvalue()
