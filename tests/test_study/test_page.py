import json

import pytest
from matplotlib.figure import Figure

from projects.crate.study import page
from projects.crate.study.curves import curve_figure, read_scalars
from projects.crate.study.page import write_page
from projects.crate.study.tables import Table, plain_table, write_table

TEMPLATE = """{% import style ~ '.jinja' as page with context %}
{% call page.document('T & T') %}
{% call page.paragraph() %}
{{ text }}
    goes on
{% endcall %}
{{ page.listing(['python x.py > y']) }}
{{ page.table(table) }}
{% call page.picture(figure) %}
one {{ quoted }}
{% endcall %}
{% endcall %}
"""


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Function: suffix -> (text of a page, names of the files beside it)."""
    (tmp_path / 'test.jinja').write_text(TEMPLATE)
    for path in page.TEMPLATES.iterdir():
        (tmp_path / path.name).write_text(path.read_text())
    monkeypatch.setattr(page, 'TEMPLATES', tmp_path)
    figure = Figure(figsize=(1, 1))
    figure.subplots().plot([0, 1])

    def write(suffix):
        path = tmp_path / 'sub' / f'page.{suffix}'
        table = Table(['k', 'v'], [['a&b', 1]])
        write_page(path, 'test', text='a < b', table=table, figure=figure, quoted='"line"')
        return path.read_text(), sorted(each.name for each in path.parent.iterdir())

    return write


def test_html_is_self_contained_and_escaped(written):
    text, files = written('html')
    assert '<p>a &lt; b goes on</p>' in text and 'x.py &gt; y' in text and 'a&amp;b' in text and 'T &amp; T' in text
    assert 'alt="one &#34;line&#34;"' in text and 'src="data:image/png;base64,iVBOR' in text
    assert 'width=device-width' in text, 'a phone would show the page of a desk, in small'
    assert 'http' not in text and '{' not in text.partition('</style>')[2]
    assert files == ['page.html']


def test_markdown_has_its_pictures_beside_it(written):
    text, files = written('md')
    assert text.startswith('# T & T\n\na < b goes on\n\n```bash\npython x.py > y\n```\n\n')
    assert '\n\n| k | v |\n| --- | --- |\n| a&b | 1 |\n\n' in text
    assert '![one "line"](page-1.png)' in text and files == ['page-1.png', 'page.md']


def test_a_table_in_three_styles():
    table = Table(['a', 'b'], [['x|y', '1*'], ['<', 2]])
    assert write_table(table, 'md').splitlines()[2:] == [r'| x\|y | 1\* |', '| < | 2 |']
    assert write_table(table, 'html').endswith('<tr><td>&lt;</td><td>2</td></tr></table>')
    assert plain_table(*table[:1], [['x|y', '1*'], None]).splitlines()[3].split() == ['x|y', '1*']


def test_scalars_of_a_resumed_run_are_joined(tmp_path):
    logs = {
        '20260101_000000': [{'loss': 3.0, 'step': 1}, {'loss': 2.0, 'step': 2}, {'accuracy/top1': 50.0, 'step': 2}],
        '20260101_000100': [{'loss': 1.5, 'step': 2}, {'loss': 1.0, 'step': 3}],
    }
    for name, records in logs.items():
        path = tmp_path / name / 'vis_data' / 'scalars.json'
        path.parent.mkdir(parents=True)
        path.write_text('\n'.join(map(json.dumps, records)))
    steps, losses = read_scalars(tmp_path, 'loss')
    assert steps.tolist() == [1, 2, 3] and losses.tolist() == [3.0, 1.5, 1.0]
    assert read_scalars(tmp_path, 'absent')[0].size == 0


def test_curve_figure_draws_every_curve():
    figure = curve_figure({'a': ([0, 1], [2, 3]), 'b': ([0, 1], [4, 5])}, 'step', 'loss', dashed=['b'])
    lines = figure.axes[0].lines
    assert [line.get_linestyle() for line in lines] == ['-', '--']
    assert lines[0].get_color() == lines[1].get_color()
    assert lines[1].get_ydata().tolist() == [4, 5]
