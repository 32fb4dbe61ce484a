"""Stock configs of mmdet with CRATE in them, by the block of docs/configs.md and the table of docs/detectors.md."""

import copy
import math
import re

import pytest
import torch
from config_tree import ROOT
from stock_panoptic import STUFF, stand_in, write_panoptic
from test_stock_configs import ARCH, SIZE, block, coco, replace, smaller

from projects.crate.datasets import SampleSpec, make_sample_set
from projects.crate.engine import launch
from projects.crate.models import CRATE
from projects.crate.sample_set.coats import CLASSES

pytestmark = pytest.mark.usefixtures('fast_runner')

STEPS = 2
PAGE = (ROOT / 'docs/detectors.md').read_text()
# detector -> (stock config, out_strides, more changes), as the page has them
TABLE = {
    name: (stock, strides, more)
    for name, stock, strides, more in re.findall(
        r'^\| ([^|`]+) \| `([^`]+)` \| ([^|]+) \| ([^|]*?) ?\|$', PAGE, re.MULTILINE
    )
}
KEYS = ('neck=', 'bbox_head=', 'panoptic_head=', 'data_preprocessor=')
ONE_EPOCH = dict(max_epochs=1, val_interval=1)
FAST = ('Mask R-CNN', 'RTMDet', 'YOLACT')


@pytest.fixture(scope='session')
def data(tmp_path_factory):
    """Scenes with things and stuff, and ``crate.pth``: the backbone's weights as mmpretrain saves them."""
    folder = tmp_path_factory.mktemp('detectors')
    make_sample_set(folder, 'coco', SampleSpec(8, 8, (96, 128), 4))
    write_panoptic(folder / 'coco')
    torch.manual_seed(0)
    weights = {f'backbone.{name}': value for name, value in CRATE(arch=ARCH).state_dict().items()}
    torch.save(dict(state_dict=weights), folder / 'crate.pth')
    return folder


def write_config(folder, name, checkpoint):
    """Write the config that the pages describe for a detector of the table; return its path."""
    stock, strides, more = TABLE[name]
    model = copy.deepcopy(block('Detector')['model'])
    model['backbone']['init_cfg']['checkpoint'] = checkpoint
    changes = re.findall('`([^`]+)`', smaller(more))
    if strides == 'one map':
        del model['neck']
    else:
        model['neck']['out_strides'] = eval(strides.strip('`'))
    if 'no `_delete_`' in more:
        changes.remove('_delete_')
        del model['neck']['_delete_']
    model.update(eval(f'dict({", ".join(change for change in changes if change.startswith(KEYS))})'))
    for change in changes:
        if change.startswith('out_channels='):
            model['neck'].update(eval(f'dict({change})'))
    if 'normalisation' in more:
        model.setdefault('data_preprocessor', {}).update(block('Normalisation')['data_preprocessor'])
    settings = dict(block('Detector'), **block('Optimiser'), _base_=f'mmdet::{stock}.py')
    code = {key: repr(value) for key, value in model.items()}
    if more == 'list of necks':
        del model['neck']['_delete_']
        code['neck'] = f'[{model["neck"]!r}, *_base_.model.neck[1:]]'
    settings.pop('model')
    path = folder / 'my_config.py'
    lines = ''.join(f'{key} = {value!r}\n' for key, value in settings.items())
    path.write_text(f'{lines}model = dict({", ".join(f"{key}={value}" for key, value in code.items())})\n')
    return str(path)


def fit_to_sample_set(cfg, data):
    """Change what depends on the data: data set, classes, image size, batch size, workers, length."""
    is_panoptic = has_stuff(cfg)
    for split in ('train', 'val'):
        loader = cfg[f'{split}_dataloader']
        loader.update(batch_size=1, num_workers=0, persistent_workers=False)
        changes = panoptic(data, split) if is_panoptic else coco(data, split)
        scales = dict(scale=SIZE[::-1], scales=[SIZE[::-1]], crop_size=SIZE, img_scale=SIZE[::-1], size=SIZE)
        replace(loader.dataset, **scales, times=1)
        dataset = loader.dataset
        while 'dataset' in dataset:  # repeated, or mixed from several images
            dataset = dataset.dataset
        changes['data_prefix'] = dict(dataset.data_prefix, **changes['data_prefix'])
        dataset.update({**changes, 'indices': STEPS})
    metrics = cfg.val_evaluator
    for metric in [metrics] if isinstance(metrics, dict) else metrics:
        metric.ann_file = metric.ann_file.replace('data/coco', str(data / 'coco'))
        if 'seg_prefix' in metric:
            metric.update(seg_prefix=str(data / 'coco/annotations/panoptic_val2017'), nproc=1)
    classes = dict(num_classes=len(CLASSES), num_things_classes=len(CLASSES), num_stuff_classes=int(is_panoptic))
    if cfg.model.type in ('Mask2Former', 'MaskFormer', 'PanopticFPN'):
        classes['class_weight'] = [1.0] * (len(CLASSES) + is_panoptic) + [0.1]
    else:
        del classes['num_stuff_classes']
    # an untrained detector is sure of nothing: without a threshold, it has boxes to be evaluated, and a few are enough
    replace(cfg.model, **classes, size=(96, 96), score_thr=0.0, filter_thr=0.0, nms_pre=50)
    if cfg.model.type == 'SOLO':  # no pixel of its masks is sure
        replace(cfg.model, mask_thr=0.0)
    if cfg.model.type != 'QueryInst':  # whose masks are those of its 100 queries
        replace(cfg.model, max_per_img=20)
    if cfg.model.get('num_queries', 0) > 100:  # DINO's 900 are the best of more tokens than there are here
        cfg.model.num_queries = 100
    cfg.train_cfg.update(dict(max_iters=STEPS, val_interval=STEPS) if 'max_iters' in cfg.train_cfg else ONE_EPOCH)
    cfg.default_hooks.checkpoint.update(interval=-1, save_last=False)


def has_stuff(cfg):
    return cfg.train_dataloader.dataset.type == 'CocoPanopticDataset'


def panoptic(data, split):
    return dict(
        data_root=str(data / 'coco'),
        ann_file=f'annotations/panoptic_{split}2017.json',
        data_prefix=dict(img=f'{split}2017/', seg=f'annotations/panoptic_{split}2017/'),
        metainfo=dict(classes=(*CLASSES, STUFF), thing_classes=CLASSES, stuff_classes=(STUFF,)),
    )


def test_the_table_has_every_detector_once():
    names = """Faster R-CNN, Mask R-CNN, Cascade R-CNN, HTC, PointRend, Grid R-CNN, SOLOv2, Sparse R-CNN, QueryInst,
    RetinaNet, FCOS, ATSS, GFL, TOOD, VFNet, CondInst, YOLACT, RTMDet, YOLOF, DETR, Conditional DETR, DAB-DETR,
    Deformable DETR, DINO, Mask2Former, panoptic Mask2Former, Libra R-CNN, Dynamic R-CNN, SCNet, SOLO, PAA, AutoAssign,
    DyHead, RepPoints, YOLOX, CenterNet, DDQ, BoxInst, panoptic MaskFormer, Panoptic FPN"""
    assert {*re.split(r',\s+', names)} <= TABLE.keys()
    assert len(TABLE) == PAGE.partition('## Table of detectors')[2].partition('\n## ')[0].count('\n| ') - 1


@pytest.mark.parametrize(
    'name', [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in TABLE]
)
def test_trains_and_evaluates(tmp_path, data, monkeypatch, name):
    cfg = launch.read_config(write_config(tmp_path, name, str(data / 'crate.pth')), work_dir=str(tmp_path / 'run'))
    if has_stuff(cfg):
        stand_in(monkeypatch)
    fit_to_sample_set(cfg, data)
    launch.prepare_training(cfg)
    preprocessor, ours = cfg.model.data_preprocessor, block('Normalisation')['data_preprocessor']
    if name != 'YOLACT':  # its numbers are the same to one decimal
        assert {key: preprocessor[key] for key in ours} == ours
    runner = launch.build_runner(cfg)
    runner.train()

    assert runner.iter == STEPS
    assert math.isfinite(runner.message_hub.get_scalar('train/loss').current())
    metrics = {key: value.current() for key, value in runner.message_hub.log_scalars.items() if key[:8] == 'val/coco'}
    assert metrics and all(math.isfinite(metric) for metric in metrics.values())
    moved = runner.optim_wrapper.optimizer.state
    for key, parameter in runner.model.named_parameters():
        if key.startswith(('backbone.', 'neck.')):
            assert parameter in moved, f'{key} had no gradient'
    start = torch.load(data / 'crate.pth', weights_only=True)['state_dict']
    after = {key: value for key, value in runner.model.state_dict().items() if key.startswith('backbone.')}
    assert any(not torch.equal(after[key], start[key]) for key in after)
    for key, value in after.items():
        torch.testing.assert_close(value, start[key], atol=1e-3, rtol=0)  # a few steps away from the start
