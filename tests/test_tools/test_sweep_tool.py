"""tools/analysis_tools/figures.py layers and epochs: files, lines on the screen, and two processes."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from toy_runs import ROOT, forget_runs, load_tool
from toy_sweeps import CONFIGS, OPTIONS, make_scenes, save_weights

pytestmark = pytest.mark.usefixtures('fast_runner')

SUFFIXES = ('png', 'pdf', 'npz')


@pytest.fixture
def scenes(tmp_path, monkeypatch):
    monkeypatch.setenv('CRATE_DATA', str(tmp_path))
    make_scenes(tmp_path, 'segmentation')


def figures(*arguments):
    forget_runs()
    return load_tool('analysis_tools/figures')([str(argument) for argument in arguments])


def test_layers(tmp_path, scenes, capsys):
    out = tmp_path / 'deep' / 'out'
    command = ['layers', CONFIGS['segmentation'], save_weights(tmp_path / 'w.pth'), '--out', out]
    assert figures(*command, '--layers', 0, -1, '--cfg-options', *OPTIONS) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-3:] == [str(out / f'layers.{suffix}') for suffix in SUFFIXES]
    arrays = np.load(out / 'layers.npz')
    assert arrays['layer'].tolist() == [0, 2]
    (record,) = json.loads((out / 'layers.json').read_text()).values()
    expected = [record['metrics'][f'coarse_seg/layer_{layer}/mIoU'] for layer in (0, 2)]
    assert arrays['coarse_seg/mIoU'].tolist() == expected
    assert (out / 'layers.png').read_bytes().startswith(b'\x89PNG') and (out / 'layers.pdf').read_bytes()[:4] == b'%PDF'


def test_epochs(tmp_path, scenes, capsys):
    for epoch in (9, 10):
        save_weights(tmp_path / f'epoch_{epoch}.pth', seed=epoch)
    command = ['epochs', CONFIGS['segmentation'], tmp_path, '--out', tmp_path / 'out', '--cfg-options', *OPTIONS]
    assert figures(*command) == 0
    assert [line.split(':')[1] for line in capsys.readouterr().err.splitlines()] == [' epoch 9', ' epoch 10']
    arrays = np.load(tmp_path / 'out' / 'epochs.npz')
    assert arrays['epoch'].tolist() == [9, 10]
    records = json.loads((tmp_path / 'out' / 'epochs.json').read_text()).values()
    values = arrays['coarse_seg/layer_2/mIoU'].tolist()
    assert values == [record['metrics']['coarse_seg/layer_2/mIoU'] for record in records] and values[0] != values[1]
    assert all((tmp_path / 'out' / f'epochs.{suffix}').is_file() for suffix in SUFFIXES)
    assert figures(*command) == 0
    assert capsys.readouterr().err.count('(known)') == 2


def test_two_processes_go_on_and_find_what_one_finds(tmp_path, scenes):
    def sweep(run, folder):
        run('epochs', CONFIGS['segmentation'], tmp_path, '--out', tmp_path / folder, '--cfg-options', *OPTIONS)
        return np.load(tmp_path / folder / 'epochs.npz')

    said = []
    save_weights(tmp_path / 'epoch_1.pth', seed=1)
    sweep(figures, 'two')
    save_weights(tmp_path / 'epoch_2.pth', seed=2)
    found, expected = sweep(lambda *command: said.append(two_processes(*command)), 'two'), sweep(figures, 'one')
    first, second = (line for line in said[0].splitlines() if line.startswith('epochs: epoch'))
    assert first.endswith('(known)') and second.endswith(' s)')
    assert {*found} == {*expected} > {'epoch', 'coarse_seg/layer_2/mIoU'}
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6)


def two_processes(*arguments):
    """What they say, both together."""
    launch = ['-m', 'torch.distributed.run', '--standalone', '--local-addr=127.0.0.1', '--nproc-per-node=2']
    command = [sys.executable, *launch, ROOT / 'tools/analysis_tools/figures.py', *arguments[:1]]
    command += ['--launcher', 'pytorch', *arguments[1:]]
    environment = dict(os.environ, OMP_NUM_THREADS='1')
    result = subprocess.run([*map(str, command)], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.count('epochs.npz') == 1
    return result.stderr


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['layers', 'no.py', 'w.pth'], 'config not found: no.py'),
        (['layers', CONFIGS['segmentation'], 'no.pth'], 'checkpoint not found: no.pth'),
        (['layers', CONFIGS['segmentation'], 'no.pth', '--layers', '7'], 'no layer 7: the backbone has 3 layers'),
        (['epochs', CONFIGS['segmentation'], 'no_folder'], 'no epoch_*.pth or iter_*.pth in no_folder'),
    ],
)
def test_mistakes_are_one_line(tmp_path, scenes, capsys, arguments, message):
    assert figures(*arguments, '--out', tmp_path / 'out', '--cfg-options', *OPTIONS) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f'figures: {message}')
