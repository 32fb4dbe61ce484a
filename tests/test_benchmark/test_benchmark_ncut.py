"""tools/benchmark.py ncut: every cut on the same features; the two libraries where they are installed."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_maskcut
from toy_runs import load_tool

from projects.crate.datasets.image_list import list_images
from projects.crate.engine.launch import read_config
from projects.crate.models import MaskCutDetector
from tools.bench import ncut as module


def object_features(side=8):
    """An object of 3 x 4 tokens on a plain ground, with a little noise."""
    generator = torch.Generator().manual_seed(0)
    mask = np.zeros((side, side), dtype=bool)
    mask[2:5, 3:7] = True
    plain = torch.from_numpy(mask).flatten().float()
    return torch.stack([plain, 1 - plain, plain]) + 0.05 * torch.rand(3, side**2, generator=generator), mask


def arguments(folder):
    images, _, config, _, checkpoint = toy_maskcut.make_run(folder, number=2)
    return [str(images), '--config', str(config), '--checkpoint', str(checkpoint), '--sides', '4', '--repeats', '1']


def test_every_cut_finds_a_plain_object():
    pytest.importorskip('ncut_pytorch')
    pytest.importorskip('fastncut')
    features, expected = object_features()
    for cut in (module.ours, module.dense, *module.libraries().values()):
        assert np.array_equal(cut(features), expected)


def test_numbers_of_our_cut_and_the_dense_one():
    features, _ = object_features()
    found = module.measure(dict(ours=module.ours, dense=module.dense), [features], repeats=1)
    assert found['iou'] == dict(ours=1, dense=1)
    assert found['seconds'].keys() == {'ours', 'dense'}
    text = module.report([dict(side=8, **found, memory_mb=dict(ours=1, dense=2))]).splitlines()
    assert ['64', 'ours', f'{found["seconds"]["ours"]:.4g}', '1.00'] in [line.split()[:4] for line in text]


@pytest.mark.parametrize(
    ('a', 'b', 'expected'), [([1, 1, 0], [0, 1, 1], 1 / 3), ([0, 0], [0, 0], 1), ([0, 1], [0, 0], 0)]
)
def test_iou(a, b, expected):
    assert module.iou(np.array(a, dtype=bool), np.array(b, dtype=bool)) == pytest.approx(expected)


def test_features_are_those_that_the_detector_cuts(tmp_path, monkeypatch):
    images, _, config, _, checkpoint = arguments(tmp_path / 'run')[:5]
    seen = []
    keep = MaskCutDetector.features
    monkeypatch.setattr(MaskCutDetector, 'features', lambda *args: seen.append(keep(*args)) or seen[-1])
    found = module.read_features(read_config(config), checkpoint, list_images(Path(images), tmp_path), side=5)
    assert [one.shape for one in found] == [(16, 25)] * 2
    assert all(torch.equal(one, batch[0]) for one, batch in zip(found, seen))


def test_missing_libraries_are_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'ncut_pytorch', None)
    assert load_tool('benchmark')(['ncut', *arguments(tmp_path / 'run')]) == 1
    assert 'pip install --no-deps ncut-pytorch fastncut fpsample' in capsys.readouterr().err


@pytest.mark.slow
def test_the_command(tmp_path, capsys):
    pytest.importorskip('ncut_pytorch')
    pytest.importorskip('fastncut')
    assert load_tool('benchmark')(['ncut', *arguments(tmp_path / 'run'), '--dense-tokens', '9']) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert {line[1] for line in lines if line[:1] == ['16']} == {'ours', 'ncut-pytorch', 'fastncut'}
