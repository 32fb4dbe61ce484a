"""Tables and curves of an experiment, from rows made by hand."""

import pytest

from projects.crate.study import experiment
from projects.crate.study.experiment import WHOLE_IMAGE, Row, read_results, write_results

SIZES = ('128 x 128', '64 x 64')


def rows():
    """CRATE with two seeds and a ViT, two layers, three checkpoints; a number tells where it belongs."""
    made = [Row(WHOLE_IMAGE, 0, 0, '', -1, 'mIoU', 23.14)]
    for model, seed, base in (('CRATE', 0, 30), ('CRATE', 1, 31), ('ViT', 0, 10)):
        made.append(Row(model, seed, 200, '', -1, 'top-1', base + 0.55))
        for size in SIZES:
            for step in (0, 100, 200) if size == SIZES[-1] else (0, 200):
                key = dict(model=model, seed=seed, iteration=step, size=size)
                for layer in (0, 1):
                    value = round(base + step / 100 + layer / 10, 4)
                    made.append(Row(**key, layer=layer, metric='mIoU mass', value=value, low=value - 1, high=value + 2))
                    made.append(Row(**key, layer=layer, metric='mIoU top', value=round(value / 2, 4)))
                    if layer == 1 or step == 200:
                        made.append(
                            Row(
                                **key,
                                layer=layer,
                                metric='mask AP',
                                value=round(value / 10, 4),
                                low=0,
                                high=round(value / 5, 4),
                            )
                        )
        if (model, seed) != ('CRATE', 0):
            made.append(Row(model, seed, 200, SIZES[-1], 1, 'mIoU mass - CRATE', base - 30, -3, 4))
    return made


def cells(table):
    """Header and rows as text."""
    return [[str(cell) for cell in line] for line in (table.header, *table.rows)]


def test_results_come_back_as_they_were_written(tmp_path):
    path = tmp_path / 'new' / 'results.json'
    write_results(path, rows(), dict(budget='cpu', versions=dict(torch='2')))
    found, about = read_results(path)
    assert found == rows()
    assert about == dict(budget='cpu', versions=dict(torch='2'))
    assert len(path.read_text().splitlines()) < len(rows()) + 25  # a row is a line: a change can be read
    write_results(path, [Row('CRATE', 0, 1, '', -1, 'top-1', 1 / 3)], {})
    assert read_results(path)[0][0].value == 0.3333


def test_last_layer_of_every_training_beside_its_random_weights():
    header, *lines = cells(experiment.last_layer_table(rows(), SIZES[0]))
    assert header[:5] == ['model', 'seed', 'top-1', 'mIoU, 60% of the mass', 'mIoU, top 60% of patches']
    assert [line[:3] for line in lines] == [
        ['CRATE', '0', 'random weights'],
        ['CRATE', '0', '30.6%'],
        ['CRATE', '1', 'random weights'],
        ['CRATE', '1', '31.6%'],
        ['ViT', '0', 'random weights'],
        ['ViT', '0', '10.6%'],
        [WHOLE_IMAGE, '', ''],
    ]
    assert lines[-1][3:] == ['23.1', *[''] * 7]
    found = dict(zip(header, lines[1]))
    assert found['mIoU, 60% of the mass'] == '32.1 [31.1, 34.1]'
    assert found['mIoU, top 60% of patches'] == '16.1'
    assert found['mask AP'] == '3.21 [0.00, 6.42]'
    assert found['box AP'] == ''  # not measured


@pytest.mark.parametrize('seed', [0, 1])
def test_a_training_without_ap(seed):
    """Its cells and curves are empty; colours and names of the others are as they were."""
    gone = dict(model='CRATE', seed=seed, metric='mask AP')
    missing = [row for row in rows() if row.iteration == 0 or row not in experiment.find(rows(), **gone)]
    _, *lines = cells(experiment.last_layer_table(missing, SIZES[0]))
    assert [line[-1] == '' for line in lines[1:6:2]] == [seed == 0, seed == 1, False]
    _, *lines = cells(experiment.layer_table(missing, SIZES[1]))
    assert [line[:2] for line in lines if line[2] == 'mask AP'] == [['CRATE', str(1 - seed)], ['ViT', '0']]
    assert cells(experiment.seed_table(missing, SIZES[0], ['CRATE']))[1][-1] == ''
    axes = experiment.curves(missing, SIZES[1]).axes
    for axis in axes:
        lines = [container.lines[0] for container in axis.get_legend_handles_labels()[0]]
        drawn = [len(line.get_ydata()) > 0 for line in lines]
        assert drawn == ([seed == 1, seed == 0, True] if 'AP' in axis.get_ylabel() else [True] * 3)
    assert len(axes) == 4
    no_ap = [row for row in rows() if row.metric != 'mask AP']
    assert len(experiment.curves(no_ap, SIZES[1]).axes) == 2


def test_several_seeds():
    header, *lines = cells(experiment.seed_table(rows(), SIZES[0], ['CRATE']))
    assert header == [
        'model',
        'trainings',
        'top-1',
        'mIoU, 60% of the mass',
        'mIoU, top 60% of patches',
        'box AP',
        'mask AP',
    ]
    assert lines == [
        ['CRATE', '2', '31.1 (30.6 to 31.6)', '32.6 (32.1 to 33.1)', '16.3 (16.1 to 16.6)', '', '3.26 (3.21 to 3.31)']
    ]
    single = [row for row in rows() if row.seed == 0]
    assert not [name for name in experiment.tables(single) if 'seeds' in name]


def test_every_layer():
    header, *lines = cells(experiment.layer_table(rows(), SIZES[1]))
    assert header == ['model', 'seed', '', 'layer 0', 'layer 1']
    assert lines[4] == ['ViT', '0', 'mIoU, 60% of the mass', '12.0', '12.1']
    assert lines[5] == ['ViT', '0', 'mask AP', '1.20', '1.21']
    assert len(lines) == 6


def test_differences():
    _, *lines = cells(experiment.difference_table(rows(), SIZES[1]))
    assert lines == [
        ['CRATE, seed 1', 'CRATE', 'mIoU, 60% of the mass', '1.0 [-3.0, 4.0]'],
        ['ViT, seed 0', 'CRATE', 'mIoU, 60% of the mass', '-20.0 [-3.0, 4.0]'],
    ]
    assert len(cells(experiment.difference_table(rows(), SIZES[0]))) == 1  # header alone


def compared():
    """CRATE with two seeds and a ViT with one, in three images."""
    rows = [Row(WHOLE_IMAGE, 0, 0, '', -1, 'CorLoc', 9.0)]
    for model, seed, base in (('CRATE', 0, 30.0), ('CRATE', 1, 32.0), ('ViT', 0, 10.0)):
        for step in (0, 200):
            rows.append(Row(model, seed, step, '', -1, 'k-NN', 5 + step / 100))
            for rule in ('mass', 'top'):
                images = tuple(base + step / 100 + each for each in (0.0, 1.0, 5.0))
                for layer in (0, 1):
                    kept = images if layer else ()
                    rows.append(Row(model, seed, step, SIZES[0], layer, f'mIoU {rule}', base, images=kept))
            rows.append(Row(model, seed, step, SIZES[0], 1, 'CorLoc', base))
    return rows


def test_comparisons_of_models_with_trainings():
    _, *lines = cells(experiment.comparison_table(compared(), SIZES[0]))
    assert [line[:4] for line in lines[:3]] == [
        ['CRATE', 'ViT', '2, 1', 'mIoU, 60% of the mass'],
        ['CRATE', 'CRATE, random weights', '2, 2', 'mIoU, 60% of the mass'],
        ['ViT', 'ViT, random weights', '1, 1', 'mIoU, 60% of the mass'],
    ]
    assert len(lines) == 6
    assert lines[0][4].startswith('21.0 [') and lines[2][4] == '2.0 [2.0, 2.0]'
    # two trainings that differ by 2: one degree of freedom, standard error 1, so t = 21 has p = 0.03
    assert float(lines[0][5]) == pytest.approx(4 * 2 * 0.01515, rel=0.02)


def test_comparisons_wait_for_trainings():
    _, *lines = cells(experiment.comparison_table([row for row in compared() if row.model != 'ViT'], SIZES[0]))
    assert [line[:2] for line in lines] == [['CRATE', 'CRATE, random weights']] * 2


def test_one_object_per_image():
    header, *lines = cells(experiment.object_table(compared(), SIZES[0]))
    assert header == ['model', 'seed', '', 'k-NN', 'saliency IoU', 'saliency max F', 'CorLoc']
    assert lines[0] == ['CRATE', '0', 'random weights', '5.0', '', '', '30.0']
    assert lines[1] == ['CRATE', '0', 'trained', '7.0', '', '', '30.0']
    assert lines[-1] == [WHOLE_IMAGE, '', '', '', '', '', '9.0']


def test_images_of_a_row_come_back(tmp_path):
    write_results(tmp_path / 'results.json', compared(), {})
    assert read_results(tmp_path / 'results.json')[0] == compared()


def test_curves_along_training_and_layers():
    figure = experiment.curves(rows(), SIZES[1])
    assert [axis.get_xlabel() for axis in figure.axes] == ['iteration', 'layer (0-based)'] * 2
    training, layers = (axis.get_legend_handles_labels() for axis in figure.axes[:2])
    assert training[1] == layers[1] == ['CRATE', 'CRATE, seed 1', 'ViT']
    first, second, other = (container.lines[0] for container in training[0])
    assert first.get_color() == second.get_color() != other.get_color()
    assert [line.get_linestyle() for line in (first, second, other)] == ['-', '--', '-']
    steps, values = other.get_data()
    assert list(steps) == [0, 100, 200]
    assert list(values) == pytest.approx([10.1, 11.1, 12.1])
    assert list(layers[0][0].lines[0].get_data()[1]) == pytest.approx([32.0, 32.1])


def test_everything_is_written(tmp_path):
    paths = experiment.write_pages(rows(), {}, tmp_path / 'new')
    assert [path.name for path in paths] == ['tables.md', 'index.html', 'curves.png']
    assert all(path.is_file() for path in paths)
    text = paths[0].read_text()
    assert text.count('## ') == 9
    assert 'All numbers are in percent.' in text and '<img src="data:image/png' in paths[1].read_text()
    assert sorted((tmp_path / 'new').iterdir()) == sorted(paths)
