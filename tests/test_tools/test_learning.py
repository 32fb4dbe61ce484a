"""Classifier, detector and segmentor on the sample set, from nothing to far above chance: `make test-slow`."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toy_runs import run_tool

CLASSIFIER = 'configs/classification/crate-w128d5-p4_1xb48-coslr-400i_sample-48px.py'
DETECTOR = 'configs/detection/mask-rcnn_crate-w128d5-p4_sample-pre-1xb8-step-4e_sample-96x128px.py'
SEGMENTOR = 'configs/segmentation/upernet_crate-w128d5-p4_sample-pre-1xb8-poly-300i_sample-96x128px.py'

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """The whole sample set, as `python tools/make_sample_set.py` writes it."""
    folder = tmp_path_factory.mktemp('data')
    run_tool('make_sample_set.py', folder / 'sample')
    return folder


@pytest.fixture(scope='module')
def classifier(data):
    """A checkpoint that mmpretrain's runner saved."""
    return train(CLASSIFIER, data, data / 'classifier')


def train(config, data, work_dir, *options):
    """``tools/train.py``; returns the last checkpoint."""
    options = ['--cfg-options', 'randomness.seed=0', *options]
    run_tool('train.py', config, '--work-dir', work_dir, *options, CRATE_DATA=str(data))
    return Path((work_dir / 'last_checkpoint').read_text())


def evaluate(config, data, work_dir, checkpoint):
    """``tools/test.py``; returns what it measured."""
    run_tool('test.py', config, checkpoint, '--work-dir', work_dir / 'test', CRATE_DATA=str(data))
    (path,) = (work_dir / 'test').glob('*/*.json')
    return json.loads(path.read_text())


def background_miou(data):
    """MIoU, in percent, of a prediction that sees nothing but background: chance."""
    root = data / 'sample/VOCdevkit/VOC2012'
    names = (root / 'ImageSets/Segmentation/val.txt').read_text().split()
    labels = np.stack([np.asarray(Image.open(root / f'SegmentationClass/{name}.png')) for name in names])
    return 100 * np.mean(labels[labels != 255] == 0) / len(np.unique(labels[labels != 255]))


def test_mask_rcnn(data, classifier):
    """Chance is next to zero: a box has one of eight classes and must overlap an object by half."""
    checkpoint = train(DETECTOR, data, data / 'detector', f'model.backbone.init_cfg.checkpoint={classifier}')
    results = evaluate(DETECTOR, data, data / 'detector', checkpoint)
    assert results['coco/bbox_mAP_50'] > 0.5 and results['coco/segm_mAP_50'] > 0.5


def test_upernet(data, classifier):
    checkpoint = train(SEGMENTOR, data, data / 'segmentor', f'model.backbone.init_cfg.checkpoint={classifier}')
    results = evaluate(SEGMENTOR, data, data / 'segmentor', checkpoint)
    assert results['mIoU'] > 4 * background_miou(data)
