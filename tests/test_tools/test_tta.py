"""``tools/test.py --tta`` with the configs of this project that have blocks for it."""

import json
import pickle

import pytest
import torch
from config_tree import ROOT
from mmengine.registry import MODELS, init_default_scope
from PIL import Image, ImageOps
from toy_runs import forget_runs, load_tool

from projects.crate.datasets import SampleSpec, make_sample_set
from projects.crate.engine import launch
from projects.crate.sample_set.coats import CLASSES

pytestmark = pytest.mark.usefixtures('fast_runner')

CLASSIFIER = 'classification/crate-w128d5-p4_1xb48-coslr-400i_sample-48px.py'
SEGMENTOR = 'segmentation/upernet_crate-w128d5-p4_sample-pre-1xb8-poly-300i_sample-96x128px.py'
DETECTOR = 'detection/retinanet_crate-base-p16_in1k-pre-8xb2-step-12e_coco.py'
MASK_DETECTOR = 'detection/mask-rcnn_crate-w128d5-p4_sample-pre-1xb8-step-4e_sample-96x128px.py'
SMALL_DETECTOR = dict(
    backbone=dict(arch=dict(_delete_=True, embed_dims=16, num_heads=2, num_layers=4), init_cfg=None),
    neck=dict(in_channels=16),
    bbox_head=dict(num_classes=len(CLASSES)),
)


@pytest.fixture
def test(tmp_path, monkeypatch):
    """Function that tests a config on eight images with random weights, and returns predictions and metrics."""
    monkeypatch.setenv('CRATE_DATA', str(tmp_path))
    for layout in ('imagenet', 'voc', 'coco'):
        make_sample_set(tmp_path / 'sample', layout, SampleSpec(8, 8, (48, 48) if layout == 'imagenet' else (96, 128)))

    def run(name, *arguments, options=(), changes=None):
        forget_runs()
        path = tmp_path / 'tested.json'
        path.write_text(json.dumps(dict(_base_=str(ROOT / 'configs' / name), **(changes or {}))))
        weights, out, work = tmp_path / 'weights.pth', tmp_path / 'out.pkl', tmp_path / 'run'
        if not weights.exists():
            cfg = launch.read_config(str(path))
            init_default_scope(cfg.default_scope)
            torch.save(dict(state_dict=MODELS.build(launch.model_cfg(cfg)).state_dict()), weights)
        options = ['test_dataloader.num_workers=0', 'test_dataloader.persistent_workers=False', *options]
        words = [path, weights, '--work-dir', work, '--out', out, *arguments, '--cfg-options', *options]
        assert load_tool('test')([str(word) for word in words]) == 0
        (metrics,) = [json.loads(file.read_text()) for file in work.glob('*/*.json')][-1:]
        return pickle.loads(out.read_bytes()), metrics

    return run


def scores(predictions):
    return torch.stack([each['pred_score'] for each in predictions])


def test_scores_are_the_mean_of_image_and_mirror_image(test, tmp_path):
    augmented, metrics = test(CLASSIFIER, '--tta')
    plain = scores(test(CLASSIFIER)[0])
    for path in (tmp_path / 'sample/imagenet/val').rglob('*.png'):
        ImageOps.mirror(Image.open(path)).save(path)
    mirrored = scores(test(CLASSIFIER)[0])
    assert not torch.allclose(plain, mirrored)
    torch.testing.assert_close(scores(augmented), (plain + mirrored) / 2)
    assert 'accuracy/top1' in metrics


def test_segmentor(test):
    predictions, metrics = test(SEGMENTOR, '--tta', options=['test_dataloader.dataset.indices=2'])
    assert {tuple(each['pred_sem_seg']['data'].shape) for each in predictions} == {(1, 96, 128)} and len(
        predictions
    ) == 2
    assert 0 <= metrics['mIoU'] <= 100


def test_detector(test, tmp_path):
    options = ['tta_pipeline.1.transforms.0.0.scale=(128,96)']
    root, file = tmp_path / 'sample/coco', 'annotations/instances_val2017.json'
    dataset = dict(data_root=str(root), ann_file=file, metainfo=dict(classes=CLASSES))
    changes = dict(test_dataloader=dict(dataset=dataset), test_evaluator=dict(ann_file=str(root / file)))
    predictions, metrics = test(DETECTOR, '--tta', options=options, changes=dict(changes, model=SMALL_DETECTOR))
    assert len(predictions) == 8 and 'coco/bbox_mAP' in metrics


def test_masks_are_refused(tmp_path):
    cfg = launch.read_config(str(ROOT / 'configs' / MASK_DETECTOR))
    cfg.tta_model, cfg.tta_pipeline = dict(type='DetTTAModel'), []
    torch.save({}, tmp_path / 'weights.pth')
    with pytest.raises(launch.UserError, match='merges no masks'):
        launch.prepare_testing(cfg, str(tmp_path / 'weights.pth'), tta=True)
