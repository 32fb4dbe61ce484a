"""Stock configs of the installed libraries with CRATE in them, by the blocks and the tables of the page for users."""

import ast
import json
import math
import re
import runpy
from importlib import import_module
from pathlib import Path

import pytest
import torch
from config_tree import ROOT
from mmengine.config import Config
from torch import nn

from projects.crate.datasets import SampleSpec, make_sample_set
from projects.crate.engine import launch
from projects.crate.models import CRATE
from projects.crate.sample_set.coats import CLASSES, SEGMENTATION_METAINFO

pytestmark = pytest.mark.usefixtures('fast_runner')

PAGE = (ROOT / 'docs/configs.md').read_text()
SIZE = (64, 96)  # h, w: 4 x 6 patches
ARCH = dict(embed_dims=16, num_heads=2, num_layers=12)
SMALL = {"arch='base'": f'arch={ARCH}', '768': '16', 'window_size=14': 'window_size=2'}
# stock config, section of the page, row of its table (None: the block as it stands)
STOCK = [
    ('mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco', 'Detector', None),
]
FAST = ('resnet50_8xb32_in1k', 'dpt_vit-b16_8xb2', 'ocrnet_r101-d8')  # of mmpretrain and mmseg; the rest is slow


def section(title):
    return re.search(rf'^## {title}.*?\n(.*?)(?=^## |\Z)', PAGE, re.MULTILINE | re.DOTALL)[1]


def tried(library, title):
    """Every stock config that the table of a section names, as a case of the test."""
    for family, names in re.findall(r'^\| ([^|`]+) \| ([^|]*`[^|]*) \|.*\|$', section(title), re.MULTILINE):
        for name in re.findall('`([^`]+)`', names):
            marks = [] if any(fast in name for fast in FAST) else [pytest.mark.slow]
            yield pytest.param(f'{library}::{name}', title, family, marks=marks, id=name.split('/')[-1])


CASES = [
    *(pytest.param(*case, id=case[0].split('/')[-1]) for case in STOCK),
    *tried('mmpretrain', 'Classifier'),
    *tried('mmseg', 'Segmentor'),
]


@pytest.fixture(scope='session')
def data(tmp_path_factory):
    """Scenes and single objects, and ``crate.pth``: the backbone's weights as mmpretrain saves them."""
    folder = tmp_path_factory.mktemp('stock')
    for layout in ('coco', 'voc'):
        make_sample_set(folder, layout, SampleSpec(8, 8, (96, 128), 4))
    make_sample_set(folder, 'imagenet', SampleSpec(8, 8, (96, 128)))
    write_multi_label(folder / 'VOCdevkit/VOC2012')
    write_shop(folder / 'imagenet')
    torch.manual_seed(0)
    weights = {f'backbone.{name}': value for name, value in CRATE(arch=ARCH).state_dict().items()}
    torch.save(dict(state_dict={**weights, 'head.fc.bias': torch.zeros(3)}), folder / 'crate.pth')
    return folder


def write_multi_label(root):
    """Labels of VOC2007's classification: the train list, the val list as test, and two classes by turns."""
    lists, annotations = root / 'ImageSets/Main', root / 'Annotations'
    lists.mkdir()
    annotations.mkdir()
    for split, name in (('train', 'trainval'), ('val', 'test')):
        text = (root / f'ImageSets/Segmentation/{split}.txt').read_text()
        (lists / f'{name}.txt').write_text(text)
        for i, image in enumerate(text.split()):
            labels = ['cat', 'dog', 'cat'][i % 2 : i % 2 + 2 - i % 3 % 2]
            objects = ''.join(f'<object><name>{label}</name><difficult>0</difficult></object>' for label in labels)
            (annotations / f'{image}.xml').write_text(f'<annotation>{objects}</annotation>')


def write_shop(root):
    """A list of InShop: each class is an article, validation images are queries, and all images are the gallery."""
    lines = ['0', 'image_name item_id evaluation_status']
    for split, status in (('train', 'train'), ('val', 'query')):
        for path in sorted(root.glob(f'{split}/*/*')):
            words = f'{path.relative_to(root)} {path.parent.name}'
            lines += [f'{words} {status}', f'{words} gallery']
    (root / 'shop.txt').write_text('\n'.join(lines))


def block(title):
    """What the Python block of a section sets, for a smaller backbone."""
    (text,) = re.findall(r'^```python\n(.*?)^```', section(title), re.MULTILINE | re.DOTALL)
    settings = {}
    exec(smaller(text), {}, settings)
    return settings


def row(title, family):
    """Keys of ``model`` that a row of the table of a section sets, as code, likewise."""
    (cells,) = re.findall(rf'^\| {re.escape(family)} \|(?:[^|]*\|)?([^|]*)\|$', section(title), re.MULTILINE)
    call = ast.parse(smaller(f'dict({", ".join(re.findall("`([^`]+)`", cells))})')).body[0].value
    return {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}


def smaller(text):
    for large, small in SMALL.items():
        text = text.replace(large, small)
    return text


def text_of(stock, title, family, checkpoint):
    """What a reader of the page writes on top of a stock config."""
    settings = {**block(title), **block('Optimiser')}
    model = {key: repr(value) for key, value in settings.pop('model').items()}
    changes = {} if family is None else row(title, family)
    if changes.keys() - {'init_cfg'}:
        model = {key: model[key] for key in ('pretrained', 'backbone') if key in model}
    if 'backbone' in changes and '_delete_' not in changes['backbone']:
        changes['backbone'] = repr(eval(model['backbone']) | eval(changes['backbone']))
    if 'image_encoder' in changes:
        del model['backbone']
    model |= changes
    model = {key: value.replace('crate.pth', checkpoint) for key, value in model.items()}
    if not is_normalised(Config.fromfile(stock_file(stock))):
        normalisation = block('Normalisation')['data_preprocessor']
        if title == 'Classifier':  # beside the model, as the page says
            settings['data_preprocessor'] = {key.replace('bgr_to_', 'to_'): normalisation[key] for key in normalisation}
        else:
            model['data_preprocessor'] = repr(eval(model.get('data_preprocessor', 'dict()')) | normalisation)
    lines = [f'_base_ = {f"{stock}.py"!r}', *(f'{key} = {value!r}' for key, value in settings.items())]
    return '\n'.join([*lines, f'model = dict({", ".join(f"{key}={value}" for key, value in model.items())})\n'])


def stock_file(stock):
    library, name = stock.split('::')
    return Path(import_module(library).__file__).parent / '.mim/configs' / f'{name}.py'


def fit_to_sample_set(cfg, data):
    """What everybody changes for data of their own: data set, classes, image size, batch size, workers, length."""
    layouts = dict(mmpretrain=imagenet, mmdet=coco, mmseg=voc)
    others = dict(VOC=multi_label, InShop=shop)
    num_classes = len(CLASSES) + (cfg.default_scope == 'mmseg')
    steps = 1 if cfg.default_scope == 'mmdet' else 3
    for split in ('train', 'val'):
        loader = cfg[f'{split}_dataloader']
        loader.update(batch_size=1 if cfg.default_scope == 'mmdet' else 2, num_workers=0, persistent_workers=False)
        if loader.dataset.type == 'RepeatDataset':
            loader.dataset = loader.dataset.dataset
        layout = others.get(loader.dataset.type, layouts[cfg.default_scope])
        number = loader.batch_size * (steps if split == 'train' else 1)
        loader.dataset = {**loader.dataset, **layout(data, split), 'indices': number}
        height_width = dict(crop_size=SIZE, scales=[SIZE[::-1]], reduce_zero_label=False)
        replace(loader.dataset.pipeline, scale=48 if cfg.default_scope == 'mmpretrain' else SIZE[::-1], **height_width)
    if cfg.model.get('prototype'):
        cfg.model.prototype.update(num_workers=0, dataset=cfg.val_dataloader.dataset | shop(data, 'gallery'))
        del cfg.model.prototype.dataset['indices']
    if cfg.default_scope == 'mmdet':
        cfg.val_evaluator.ann_file = str(data / 'coco/annotations/instances_val2017.json')
    if cfg.train_dataloader.dataset.type not in others:
        replace(cfg.model, num_classes=num_classes, num_things_classes=num_classes)
        if cfg.get('data_preprocessor', {}).get('num_classes'):
            cfg.data_preprocessor.num_classes = num_classes
    replace(cfg.model, class_weight=[1.0] * num_classes + [0.1], size=(96, 96), crop_size=SIZE, stride=SIZE)
    if cfg.model.get('num_queries', 0) > 100:  # DINO's 900 are the best of more tokens than there are here
        cfg.model.num_queries = 100
    lengths = dict(max_epochs=1, max_iters=steps, val_interval=1 if 'max_epochs' in cfg.train_cfg else steps)
    cfg.train_cfg.update({key: value for key, value in lengths.items() if key in cfg.train_cfg})
    cfg.param_scheduler = []  # warm-ups of many epochs
    cfg.default_hooks.checkpoint.update(interval=-1, save_last=False)


def replace(node, **values):
    """Set keys wherever they are, lists and tuples only by their like."""
    for key, old in list(node.items() if isinstance(node, dict) else enumerate(node)):
        if key in values and isinstance(old, list | tuple) == isinstance(values[key], list | tuple):
            node[key] = values[key]
        elif isinstance(old, dict | list):
            replace(old, **values)


def imagenet(data, split):
    return dict(data_root=str(data / 'imagenet'), split='', data_prefix=split, classes=CLASSES)


def multi_label(data, split):
    return dict(data_root=str(data / 'VOCdevkit/VOC2012'), split='trainval' if split == 'train' else 'test')


def shop(data, split):
    split = 'query' if split == 'val' else split
    return dict(data_root=str(data / 'imagenet'), split=split, data_prefix='', ann_file='shop.txt')


def coco(data, split):
    return dict(
        data_root=str(data / 'coco'),
        ann_file=f'annotations/instances_{split}2017.json',
        data_prefix=dict(img=f'{split}2017/'),
        metainfo=dict(classes=CLASSES),
    )


def voc(data, split):
    return dict(
        type='BaseSegDataset',
        data_root=str(data / 'VOCdevkit/VOC2012'),
        ann_file=f'ImageSets/Segmentation/{split}.txt',
        data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
        metainfo=SEGMENTATION_METAINFO,
    )


@pytest.mark.parametrize(('stock', 'title', 'family'), CASES)
def test_trains_and_evaluates(tmp_path, data, stock, title, family):
    path = tmp_path / 'my_config.py'
    path.write_text(text_of(stock, title, family, str(data / 'crate.pth')))
    cfg = launch.read_config(str(path), work_dir=str(tmp_path / 'run'))
    fit_to_sample_set(cfg, data)
    launch.prepare_training(cfg)
    assert is_normalised(cfg)
    runner = launch.build_runner(cfg)
    (backbone,) = [module for module in runner.model.modules() if isinstance(module, CRATE)]
    before = start_of(backbone, data)
    runner.train()

    assert math.isfinite(runner.message_hub.get_scalar('train/loss').current())
    metrics = [value.current() for key, value in runner.message_hub.log_scalars.items() if is_metric(key)]
    assert metrics and all(math.isfinite(metric) for metric in metrics)
    moved = runner.optim_wrapper.optimizer.state
    parts = dict(backbone=backbone, neck=getattr(runner.model, 'neck', None) or nn.Identity())
    for part, module in parts.items():
        for name, parameter in module.named_parameters():
            assert parameter in moved, f'{part}.{name} had no gradient'
    after = backbone.state_dict()
    assert any(not torch.equal(after[name], before[name]) for name in after)
    for name in after:
        torch.testing.assert_close(after[name], before[name], atol=1e-3, rtol=0)  # a few steps away from the start


def is_metric(key):
    return key.startswith('val/') and 'time' not in key


def start_of(backbone, data):
    """The weights that a backbone should start from."""
    if not backbone.init_cfg:
        return {name: value.clone() for name, value in backbone.state_dict().items()}
    weights = torch.load(data / 'crate.pth', weights_only=True)['state_dict']
    return {name.removeprefix('backbone.'): value for name, value in weights.items()}


def is_normalised(cfg):
    """Whether images are normalised as for the classifiers whose weights are loaded."""
    preprocessor = cfg.model.get('data_preprocessor') or cfg.data_preprocessor
    ours = Config.fromfile(ROOT / 'configs/_base_/datasets/imagenet_224.py').data_preprocessor
    is_rgb = preprocessor.get('bgr_to_rgb', preprocessor.get('to_rgb'))
    return is_rgb and (preprocessor.mean, preprocessor.std) == (ours.mean, ours.std)


@pytest.mark.slow
def test_cross_validation(tmp_path, data, monkeypatch):
    """The command of the page: each fold trains on one half of the images and evaluates on the other."""
    (tool,) = re.findall(r'mmpretrain\.__path__\)\'\)/(\S+\.py) my_config\.py --num-splits 5', section('Classifier'))
    settings = block('Classifier')
    dataset = {**imagenet(data, 'train'), 'ann_file': ''}
    loader = dict(batch_size=2, num_workers=0, persistent_workers=False, dataset=dataset)
    settings |= dict(
        _base_='mmpretrain::resnet/resnet50_8xb32_in1k.py',
        train_dataloader=loader,
        val_dataloader=loader,
        test_dataloader=loader,
        train_cfg=dict(max_epochs=1),
        default_hooks=dict(logger=dict(interval=1)),
    )
    path, work = tmp_path / 'my_config.py', tmp_path / 'folds'
    path.write_text(''.join(f'{key} = {value!r}\n' for key, value in settings.items()))
    words = [path, '--num-splits', 2, '--seed', 1, '--work-dir', work, '--no-persistent-workers', '--no-pin-memory']
    monkeypatch.setattr('sys.argv', ['kfold', *map(str, words)])
    runpy.run_path(str(Path(import_module('mmpretrain').__file__).parent / tool), run_name='__main__')
    for fold in range(2):
        (log,) = (work / f'fold{fold}').glob('*/vis_data/scalars.json')
        entries = [json.loads(line) for line in log.read_text().splitlines()]
        assert len([entry for entry in entries if 'loss' in entry]) == 2  # of 4 images
        assert 0 <= entries[-1]['accuracy/top1'] <= 100
