"""tools/test.py with a config of configs/maskcut: from images on disk to AP, and to pictures."""

import copy
import pickle

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from pycocotools.mask import decode, toBbox
from toy_runs import forget_runs, load_tool, run_tool
from toy_sweeps import command_for, metrics_of

pytestmark = pytest.mark.usefixtures('fast_runner')

SCENES = 9  # two processes cannot share them evenly


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Arguments of tools/test.py: a small model with weights of a classifier, on a few scenes of the sample set."""
    monkeypatch.setenv('CRATE_DATA', str(tmp_path))
    return command_for(tmp_path, 'maskcut', SCENES, 'model.layer=1')


def by_hand(ann_file, predictions, kind):
    """AP, AP50 and AP75 of pycocotools with useCats = 0, from the predictions that --out wrote."""
    found = []
    for image in predictions:
        instances = image['pred_instances']
        for mask, (left, top, right, bottom) in zip(instances['masks'], instances['bboxes'].tolist()):
            shape = dict(segmentation=mask) if kind == 'segm' else dict(bbox=[left, top, right - left, bottom - top])
            found.append(dict(image_id=image['img_id'], category_id=1, score=1.0, **shape))
    truth = COCO(str(ann_file))
    evaluation = COCOeval(truth, truth.loadRes(copy.deepcopy(found)), kind)
    evaluation.params.useCats = 0
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats[:3]


def test_evaluates_as_pycocotools_does_and_draws(tmp_path, command):
    forget_runs()
    out, pictures = tmp_path / 'out.pkl', tmp_path / 'pictures'
    words = command('--work-dir', tmp_path / 'run', '--out', out, '--show-dir', pictures)
    assert load_tool('test')([*words, 'test_evaluator.order=as_given']) == 0
    predictions = pickle.loads(out.read_bytes())
    assert [image['img_id'] for image in predictions] == list(range(1, SCENES + 1))
    results = metrics_of(tmp_path / 'run', 'coco/')
    for kind in ('bbox', 'segm'):
        expected = by_hand(tmp_path / 'sample/coco/annotations/instances_val2017.json', predictions, kind)
        assert [results[f'coco/{kind}_mAP{item}'] for item in ('', '_50', '_75')] == pytest.approx(expected, abs=1e-12)
    assert results['coco/bbox_mAP_50'] > 0

    for image in predictions:  # two pictures side by side: as it is, and with its masks
        picture = np.asarray(Image.open(pictures / f'{image["img_id"]:012}.jpg')).astype(int)
        assert picture.shape == (96, 256, 3)
        masks, boxes = image['pred_instances']['masks'], image['pred_instances']['bboxes'].numpy()
        assert (toBbox(masks) == np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])).all()
        found = decode(masks).any(-1)
        assert np.abs(picture[:, :128] - picture[:, 128:])[found].mean() > 30


def test_two_processes_find_what_one_finds(tmp_path, command):
    forget_runs()
    assert load_tool('test')(command('--work-dir', tmp_path / 'one')) == 0
    config, weights, *rest = command('--work-dir', tmp_path / 'two')
    run_tool('dist_test.sh', config, weights, 2, *rest)
    assert metrics_of(tmp_path / 'two', 'coco/') == metrics_of(tmp_path / 'one', 'coco/')
