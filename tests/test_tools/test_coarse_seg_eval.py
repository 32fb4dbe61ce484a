"""tools/test.py with a config of configs/segmentation: from images on disk to mIoU."""

import json
import pickle

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from slow_coarse_seg import averages, masks_of
from toy_runs import ROOT, forget_runs, load_tool, run_tool

from projects.crate.datasets import SampleSpec, make_sample_set
from projects.crate.models import CRATE

pytestmark = pytest.mark.usefixtures('fast_runner')

CONFIG = ROOT / 'configs/segmentation/coarse-seg_crate-w128d5-p4_1xb8_sample-96x128px.py'
ARCH = dict(embed_dims=16, num_heads=2, num_layers=2)
SCENES = 9  # two processes cannot share them evenly


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Arguments of tools/test.py: a small model with weights of a classifier, on a few scenes of the sample set."""
    monkeypatch.setenv('CRATE_DATA', str(tmp_path))
    make_sample_set(tmp_path / 'sample', 'voc', SampleSpec(8, SCENES, (96, 128), 4), workers=1)
    settings = dict(Config.fromfile(CONFIG).model.backbone, arch=ARCH)
    del settings['type']
    weights = {f'backbone.{key}': value for key, value in CRATE(**settings).state_dict().items()}
    torch.save(dict(state_dict={**weights, 'head.fc.weight': torch.zeros(8, 16)}), tmp_path / 'weights.pth')
    options = [f'model.backbone.arch.{key}={value}' for key, value in ARCH.items()]
    options += ['model.layers=all', 'test_dataloader.num_workers=0', 'test_dataloader.persistent_workers=False']
    return lambda *more: [str(CONFIG), str(tmp_path / 'weights.pth'), *map(str, more), '--cfg-options', *options]


def metrics(folder):
    (path,) = folder.glob('*/*.json')
    return {key: value for key, value in json.loads(path.read_text()).items() if key.startswith('coarse_seg/')}


def by_hand(predictions, layer, names):
    """From what --out wrote and the annotation files, with NumPy; the image's size is a multiple of the grid's."""
    scores = []
    for image in predictions:
        target = np.asarray(Image.open(image['seg_map_path']))
        masks = masks_of(image['cls_attention'][layer].numpy(), 'mass', 0.6)
        assert masks.shape[1:] == (96 // 4, 128 // 4) and target.shape == (96, 128)
        masks = masks.repeat(4, 1).repeat(4, 2)[:, target != 255]
        present = {index: target[target != 255] == index for index in set(target.flat) - {0, 255}}
        scores.append(
            {i: ((masks & pixels).sum(1) / (masks | pixels).sum(1)).tolist() for i, pixels in present.items()}
        )
    return averages(scores, names)


def test_evaluates_as_numpy_does(tmp_path, command):
    forget_runs()
    out, pictures = tmp_path / 'out.pkl', tmp_path / 'pictures'
    assert load_tool('test')(command('--work-dir', tmp_path / 'run', '--out', out, '--show-dir', pictures)) == 0
    assert [*pictures.rglob('*.png')]
    predictions, results = pickle.loads(out.read_bytes()), metrics(tmp_path / 'run')
    assert len(predictions) == SCENES
    names = Config.fromfile(CONFIG).test_dataloader.dataset.metainfo.classes
    expected = {
        f'coarse_seg/layer_{layer}/{key}': value
        for layer in range(ARCH['num_layers'])
        for key, value in by_hand(predictions, layer, names).items()
    }
    assert results == pytest.approx(expected)


def test_two_processes_find_what_one_finds(tmp_path, command):
    forget_runs()
    assert load_tool('test')(command('--work-dir', tmp_path / 'one')) == 0
    config, weights, *rest = command('--work-dir', tmp_path / 'two')
    run_tool('dist_test.sh', config, weights, 2, *rest)
    assert metrics(tmp_path / 'two') == metrics(tmp_path / 'one') != {}
