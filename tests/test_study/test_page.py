import json

from matplotlib.figure import Figure

from projects.crate.study.curves import curve_figure, read_scalars
from projects.crate.study.page import listing, paragraph, picture, table, write_page


def test_page_is_self_contained_and_escaped(tmp_path):
    figure = Figure(figsize=(1, 1))
    figure.subplots().plot([0, 1])
    parts = [
        paragraph('a < b'),
        listing(['python x.py > y']),
        table(['k', 'v'], [['a&b', 1]]),
        picture(figure, 'one "line"'),
    ]
    write_page(tmp_path / 'sub' / 'page.html', 'T & T', parts)
    text = (tmp_path / 'sub' / 'page.html').read_text()
    assert 'a &lt; b' in text and 'x.py &gt; y' in text and 'a&amp;b' in text and 'T &amp; T' in text
    assert 'alt="one &quot;line&quot;"' in text and 'src="data:image/png;base64,iVBOR' in text
    assert 'http' not in text
    assert [path.name for path in (tmp_path / 'sub').iterdir()] == ['page.html']


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
