"""tools/test.py with a config of configs/segmentation: from images on disk to mIoU."""

import pickle

import numpy as np
import pytest
from mmengine.config import Config
from oracle_coarse_seg import averages, masks_of
from PIL import Image
from toy_runs import forget_runs, load_tool, run_tool
from toy_sweeps import ARCH, CONFIGS, command_for, metrics_of

pytestmark = pytest.mark.usefixtures('fast_runner')

SCENES = 9  # two processes cannot share them evenly


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Arguments of tools/test.py: a small model with weights of a classifier, on a few scenes of the sample set."""
    monkeypatch.setenv('CRATE_DATA', str(tmp_path))
    return command_for(tmp_path, 'segmentation', SCENES, 'model.layers=all')


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
    predictions, results = pickle.loads(out.read_bytes()), metrics_of(tmp_path / 'run', 'coarse_seg/')
    assert len(predictions) == SCENES
    names = Config.fromfile(CONFIGS['segmentation']).test_dataloader.dataset.metainfo.classes
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
    assert metrics_of(tmp_path / 'two', 'coarse_seg/') == metrics_of(tmp_path / 'one', 'coarse_seg/') != {}


@pytest.mark.parametrize('workers', [0, 1])
def test_a_label_map_that_is_none_is_one_line(tmp_path, command, capsys, workers):
    """Mmseg's ``LoadAnnotations`` scores a row of a colour image."""
    masks = sorted((tmp_path / 'sample/VOCdevkit/VOC2012/SegmentationClass').glob('val*.png'))
    image = Image.open(masks[1])
    for changed, message in [
        (image.convert('RGB'), 'has 3 channels (RGB)'),
        (image.transpose(Image.Transpose.ROTATE_90), '128 x 96 pixels, and its label map'),
    ]:
        forget_runs()
        changed.save(masks[1])
        arguments = [*command('--work-dir', tmp_path / 'run'), f'test_dataloader.num_workers={workers}']
        assert load_tool('test')(arguments) == 1
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith('test: ')]
        assert len(lines) == 1 and masks[1].name in lines[0] and message in lines[0]
