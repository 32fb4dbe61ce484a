import json
import re
import subprocess
import sys

import pytest
import torch
from toy_observer import checkpoint
from toy_report import TRAINING, make_data, save_training
from toy_runs import ROOT, load_tool

from projects.crate.study import page


@pytest.fixture
def config(tmp_path):
    """Of the training, as a file."""
    path = tmp_path / 'trained.json'
    path.write_text(json.dumps(TRAINING))
    return path


@pytest.fixture
def report(tmp_path):
    return lambda *words: load_tool('report')(
        [*map(str, words), '--out', str(tmp_path / 'out'), '--size', '32', '48', '--num-workers', '0']
    )


def test_two_checkpoints_become_a_page(tmp_path, fast_runner, config, report, capsys, monkeypatch):
    """With and without a config in the checkpoint; a second call measures nothing."""
    monkeypatch.setattr(page, 'png', lambda figure: b'')  # to draw takes seconds
    first = save_training(tmp_path / 'crate_a' / 'epoch_3.pth')
    second = checkpoint(tmp_path / 'bare.pth')
    data = make_data(tmp_path / 'sample')
    command = [first, second, '--data-root', data, '--configs', '-', config, '--names', 'one', 'two']
    assert report(*command, '--max-images', '4', '--rule', 'top') == 0
    written = tmp_path / 'out' / 'index.html'
    assert capsys.readouterr().out.endswith(f'\nreport: open {written} in a browser\n')
    text = written.read_text()
    assert '<th>one</th><th>two</th>' in text and '3 epochs, 1,234 iterations' in text
    assert 'two - one' in text and '4 of 8' in text and '60% of the mass</td>' not in text
    assert f'--data-root {data}' in text
    assert not re.search(rf'(?<!\w){ROOT}/', text.replace(str(tmp_path), ''))
    assert report(*command, '--max-images', '4', '--rule', 'top') == 0
    assert capsys.readouterr().err.count('(known)') == 4
    assert written.read_text() == text


def test_mistakes_are_one_line(tmp_path, config, report, capsys):
    checkpoint, bare = save_training(tmp_path / 'a.pth'), tmp_path / 'bare.pth'
    torch.save(dict(state_dict={}), bare)
    data = make_data(tmp_path / 'sample', ['voc'])
    for command, message in [
        ([tmp_path / 'none.pth', '--data-root', data], 'checkpoint not found'),
        ([bare, '--data-root', data], 'bare.pth holds no config'),
        ([bare, '--data-root', data, '--configs', 'none.py'], 'config not found: none.py'),
        ([bare, '--data-root', data, '--configs', config], 'bare.pth holds no weights by name'),
        ([checkpoint, '--data-root', tmp_path], 'no data below --data-root'),
        ([checkpoint, '--data-root', data, '--layer', '7'], 'no layer 7: it has 3'),
    ]:
        assert report(*command) == 1
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith('report: ') and message in error
    assert not (tmp_path / 'out' / 'index.html').exists()


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--names', 'a'], '--names: 1 for 2 checkpoints'),
        (['--configs', 'a', 'b', 'c'], '--configs: 3 for 2 checkpoints'),
        (['--names', 'a', 'a'], '--names must differ'),
        (['--size', '0', '3'], 'must be at least 1, not 0'),
    ],
)
def test_arguments_that_cannot_be(words, message, capsys):
    with pytest.raises(SystemExit, match='2'):
        load_tool('report')(['x.pth', 'y.pth', '--data-root', 'd', '--out', 'o', *words])
    assert message in capsys.readouterr().err


def test_help_needs_no_library(tmp_path):
    (tmp_path / 'torch.py').write_text('raise ImportError')
    command = [sys.executable, ROOT / 'tools' / 'report.py', '--help']
    result = subprocess.run(command, env=dict(PYTHONPATH=str(tmp_path)), capture_output=True, text=True)
    assert result.returncode == 0 and '60% of the mass' in result.stdout


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda content: content['images'][0].update(file_name=5), 'file_name is missing from 1 of its images'),
        (lambda content: content.update(images=[], annotations=[]), 'has no images'),
    ],
)
def test_a_coco_file_that_names_no_images_is_refused(tmp_path, report, capsys, change, message):
    file = make_data(tmp_path / 'sample', ['coco']) / 'coco' / 'annotations' / 'instances_val2017.json'
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    capsys.readouterr()
    assert report(save_training(tmp_path / 'a' / 'epoch_3.pth'), '--data-root', tmp_path / 'sample') == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f'report: {file}: {message}'
