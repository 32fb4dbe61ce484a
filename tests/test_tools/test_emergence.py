"""tools/experiments/emergence.py: the smoke budget as a user runs it."""

import re

import pytest
from toy_runs import run_tool

from projects.crate.analysis.experiment import read_results

TOOL = 'experiments/emergence.py'
MODELS = ['CRATE', 'CRATE-MLP', 'CRATE-MHSA', 'ViT']


@pytest.fixture(scope='module')
def smoke(tmp_path_factory):
    """The whole experiment on generated images: (folder, what the command printed)."""
    folder = tmp_path_factory.mktemp('emergence') / 'out'
    return folder, run_tool(TOOL, '--budget', 'smoke', '--out', folder).stdout


def test_every_model_is_trained_and_measured(smoke):
    folder, output = smoke
    rows, about = read_results(folder / 'results.json')
    assert output.count('$ python tools/train.py') == 4
    assert [command for command in about['commands'] if 'train.py' in command] == [
        line.removeprefix('$ ') for line in output.splitlines() if line.startswith('$ python tools/train.py')
    ]
    assert about['images'] == dict(voc=8, coco=8)
    found = {(row.model, row.iteration, row.layer, row.metric) for row in rows}
    for model in MODELS:
        assert (model, 4, -1, 'top-1') in found
        for step in (0, 4):
            assert {(model, step, layer, f'mIoU {rule}') for layer in (0, 1) for rule in ('mass', 'top')} <= found
            assert {(model, step, 1, f'{kind} AP{item}') for kind in ('box', 'mask') for item in ('', 50, 75)} <= found
        assert (model, 4, 0, 'mask AP') in found and (model, 0, 0, 'mask AP') not in found
    differences = {row.model for row in rows if row.metric == 'mIoU mass - CRATE'}
    assert differences == {*MODELS} - {'CRATE'}


def test_results_are_drawn_and_tabulated(smoke):
    folder, _ = smoke
    for name in ('curves', 'attention', 'masks'):
        assert (folder / f'{name}.png').read_bytes().startswith(b'\x89PNG')
    text = (folder / 'tables.md').read_text()
    assert re.findall('^### (.*)$', text, re.MULTILINE) == [
        'last layer, 48 x 64',
        'every layer, 48 x 64',
        'differences, 48 x 64',
        'published',
    ]


def test_a_second_call_trains_and_measures_nothing_again(smoke):
    folder, _ = smoke
    before = (folder / 'results.json').read_text()
    checkpoint = folder / 'vit-seed0' / 'iter_4.pth'
    written = checkpoint.stat().st_mtime_ns
    again = run_tool(TOOL, '--budget', 'smoke', '--out', folder)
    assert '$ python tools/train.py' not in again.stdout
    measured = [line for line in again.stderr.splitlines() if line.startswith(('accuracy: ', 'layers: '))]
    assert measured and all(line.endswith('(known)') for line in measured)
    assert checkpoint.stat().st_mtime_ns == written
    assert (folder / 'results.json').read_text() == before


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--budget', 'cpu'], '--budget cpu needs --data-root'),
        (['--budget', 'smoke', '--tune'], '--tune: budget smoke has no learning rates'),
        (['--budget', 'huge'], "invalid choice: 'huge'"),
    ],
)
def test_a_wrong_command_ends_in_one_line(arguments, message):
    result = run_tool(TOOL, *arguments, check=False)
    assert result.returncode == 2
    assert message in result.stderr.splitlines()[-1]


def test_a_folder_without_the_data_is_named(tmp_path):
    result = run_tool(TOOL, '--budget', 'cpu', '--data-root', tmp_path, '--out', tmp_path / 'out', check=False)
    assert result.returncode == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith('emergence: ')]
    assert 'tiny-imagenet-100' in line
