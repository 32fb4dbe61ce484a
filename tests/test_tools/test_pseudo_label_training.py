"""tools/train.py with the config that learns from pseudo labels."""

import json

import pytest
from mmengine.config import Config
from mmengine.runner import Runner
from toy_runs import ROOT, forget_runs, last_checkpoint, load_tool

from projects.crate.datasets import SampleSpec, make_sample_set

CONFIG = ROOT / 'configs/detection/mask-rcnn_r50_1xb8-step-12e_sample-pseudo-96x128px.py'
SCENES = 8
# the same parts, thinner
SMALL = [
    'model.backbone.depth=18',
    'model.backbone.base_channels=8',
    'model.neck.in_channels=[8,16,32,64]',
    'model.neck.out_channels=16',
    'model.rpn_head.in_channels=16',
    'model.rpn_head.feat_channels=16',
    'model.roi_head.bbox_roi_extractor.out_channels=16',
    'model.roi_head.mask_roi_extractor.out_channels=16',
    'model.roi_head.bbox_head.in_channels=16',
    'model.roi_head.bbox_head.fc_out_channels=32',
    'model.roi_head.mask_head.in_channels=16',
    'model.roi_head.mask_head.conv_out_channels=16',
    'train_dataloader.batch_size=4',
    'train_cfg.max_epochs=2',
    'default_hooks.logger.interval=1',
]
SMALL += [f'{part}_dataloader.{key}' for part in ('train', 'val') for key in ('num_workers=0', 'persistent_workers=0')]


def write_pseudo_labels(folder):
    """Annotations without their categories, in the form of tools/maskcut.py."""
    content = json.loads((folder / 'instances_train2017.json').read_text())
    content['categories'] = [dict(id=1, name='object')]
    content['annotations'] = [dict(one, category_id=1) for one in content['annotations']]
    (folder / 'pseudo_train2017.json').write_text(json.dumps(content))


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Scenes in the layout of COCO, and what trains on them."""
    monkeypatch.setattr(Runner, '_log_env', lambda *_: None)
    monkeypatch.setattr(Config, 'pretty_text', 'text')
    monkeypatch.setenv('CRATE_DATA', str(tmp_path))
    make_sample_set(tmp_path / 'sample', 'coco', SampleSpec(SCENES, SCENES, (96, 128), 4), workers=1)
    forget_runs()
    return lambda: load_tool('train')([str(CONFIG), '--work-dir', str(tmp_path / 'run'), '--cfg-options', *SMALL])


def test_learns_from_pseudo_labels_and_is_evaluated_on_true_ones(tmp_path, train):
    write_pseudo_labels(tmp_path / 'sample/coco/annotations')
    assert train() == 0
    checkpoint = last_checkpoint(tmp_path)
    assert checkpoint['meta']['iter'] == 2 * SCENES / 4
    assert checkpoint['meta']['dataset_meta']['classes'] == ('object',)
    (path,) = (tmp_path / 'run').glob('*/vis_data/scalars.json')
    log = [json.loads(line) for line in path.read_text().splitlines()]
    losses = [entry for entry in log if 'loss' in entry]
    assert len(losses) == 4 and all(entry['loss_mask'] > 0 for entry in losses)  # masks are there to be learnt
    results = [entry for entry in log if 'coco/bbox_mAP' in entry]
    assert len(results) == 2
    assert all(0 <= entry[f'coco/{kind}_mAP'] <= 1 for entry in results for kind in ('bbox', 'segm'))


def test_without_pseudo_labels_nothing_starts(train, capsys):
    assert train() == 1
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith('train: '))
    assert 'annotations/pseudo_train2017.json' in line
