"""Stock configs of the installed libraries with CRATE in them, by the blocks and the tables of the page for users."""

import math
import re

import pytest
import torch
from config_tree import ROOT
from mmengine.config import Config

from projects.crate.datasets import SampleSpec, make_sample_set
from projects.crate.engine import launch
from projects.crate.models import CRATE
from projects.crate.sample_set.coats import CLASSES, SEGMENTATION_METAINFO

pytestmark = pytest.mark.usefixtures('fast_runner')

PAGE = (ROOT / 'docs/configs.md').read_text()
SIZE = (64, 96)  # h, w: 4 x 6 patches
ARCH = dict(embed_dims=16, num_heads=2, num_layers=12)
SMALL = {"arch='base'": f'arch={ARCH}', '768': '16', 'window_size=14': 'window_size=2'}
# stock config, section of the page, row of its table (None: the block as it stands), Normalisation is to be added
STOCK = [
    ('mmpretrain::resnet/resnet50_8xb32_in1k', 'Classifier', None, False),
    ('mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco', 'Detector', None, False),
    ('mmdet::cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco', 'Detector', 'Faster, Mask, Cascade R-CNN', False),
    ('mmdet::retinanet/retinanet_r50_fpn_1x_coco', 'Detector', 'RetinaNet', False),
    ('mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco', 'Detector', 'RetinaNet, FCOS', True),
    ('mmdet::atss/atss_r50_fpn_1x_coco', 'Detector', 'RetinaNet, FCOS, ATSS', False),
    ('mmdet::detr/detr_r50_8xb2-150e_coco', 'Detector', 'DETR', False),
    ('mmdet::dino/dino-4scale_r50_8xb2-12e_coco', 'Detector', 'Deformable DETR, DINO', False),
    ('mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco', 'Detector', 'Mask2Former', False),
    ('mmseg::upernet/upernet_r50_4xb4-160k_ade20k-512x512', 'Segmentor', None, False),
    ('mmseg::maskformer/maskformer_r50-d32_8xb2-160k_ade20k-512x512', 'Segmentor', 'MaskFormer', False),
    ('mmseg::fcn/fcn_r50-d8_4xb4-160k_ade20k-512x512', 'Segmentor', 'FCN', False),
    ('mmseg::segmenter/segmenter_vit-s_mask_8xb1-160k_ade20k-512x512', 'Segmentor', 'Segmenter:', True),
    ('mmseg::segmenter/segmenter_vit-s_fcn_8xb1-160k_ade20k-512x512', 'Segmentor', "Segmenter's FCN", True),
]


@pytest.fixture(scope='session')
def data(tmp_path_factory):
    """Scenes and single objects, and ``crate.pth``: the backbone's weights as mmpretrain saves them."""
    folder = tmp_path_factory.mktemp('stock')
    for layout in ('coco', 'voc'):
        make_sample_set(folder, layout, SampleSpec(8, 8, (96, 128), 4))
    make_sample_set(folder, 'imagenet', SampleSpec(8, 8, (96, 128)))
    torch.manual_seed(0)
    weights = {f'backbone.{name}': value for name, value in CRATE(arch=ARCH).state_dict().items()}
    torch.save(dict(state_dict={**weights, 'head.fc.bias': torch.zeros(3)}), folder / 'crate.pth')
    return folder


def section(title):
    return re.search(rf'^## {title}.*?\n(.*?)(?=^## |\Z)', PAGE, re.MULTILINE | re.DOTALL)[1]


def block(title):
    """What the Python block of a section sets, for a smaller backbone."""
    (text,) = re.findall(r'^```python\n(.*?)^```', section(title), re.MULTILINE | re.DOTALL)
    settings = {}
    exec(smaller(text), {}, settings)
    return settings


def row(title, family):
    """Keys of ``model`` that the row of a family of stock configs in a section sets, likewise."""
    (cells,) = re.findall(rf'^\| {family}[^|]*\|(.*)\|$', section(title), re.MULTILINE)
    return eval(smaller(f'dict({", ".join(re.findall("`([^`]+)`", cells))})'))


def smaller(text):
    for large, small in SMALL.items():
        text = text.replace(large, small)
    return text


def settings_of(stock, title, family, normalise, checkpoint):
    """What a reader of the page writes on top of a stock config."""
    settings = {**block(title), **block('Optimiser'), '_base_': f'{stock}.py'}
    model = settings['model']
    if family is not None:
        model = {key: model[key] for key in ('pretrained', 'backbone') if key in model} | row(title, family)
    if normalise:
        model.setdefault('data_preprocessor', {}).update(block('Normalisation')['data_preprocessor'])
    if 'init_cfg' in model['backbone']:
        model['backbone']['init_cfg']['checkpoint'] = checkpoint
    return {**settings, 'model': model}


def fit_to_sample_set(cfg, data):
    """What everybody changes for data of their own: data set, classes, image size, batch size, workers, length."""
    layouts = dict(mmpretrain=imagenet, mmdet=coco, mmseg=voc)
    num_classes = len(CLASSES) + (cfg.default_scope == 'mmseg')
    for split in ('train', 'val'):
        loader = cfg[f'{split}_dataloader']
        loader.update(batch_size=1 if cfg.default_scope == 'mmdet' else 2, num_workers=0, persistent_workers=False)
        loader.dataset = {**loader.dataset, **layouts[cfg.default_scope](data, split), 'indices': loader.batch_size}
        height_width = dict(crop_size=SIZE, scales=[SIZE[::-1]], reduce_zero_label=False)
        replace(loader.dataset.pipeline, scale=48 if cfg.default_scope == 'mmpretrain' else SIZE[::-1], **height_width)
    if cfg.default_scope == 'mmdet':
        cfg.val_evaluator.ann_file = str(data / 'coco/annotations/instances_val2017.json')
    replace(cfg.model, num_classes=num_classes, num_things_classes=num_classes)
    replace(cfg.model, class_weight=[1.0] * num_classes + [0.1], size=(96, 96), crop_size=SIZE, stride=SIZE)
    if cfg.model.get('num_queries', 0) > 100:  # DINO's 900 are the best of more tokens than there are here
        cfg.model.num_queries = 100
    cfg.train_cfg.update({key: 1 for key in ('max_epochs', 'max_iters', 'val_interval') if key in cfg.train_cfg})
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


@pytest.mark.parametrize(
    ('stock', 'title', 'family', 'normalise'), STOCK, ids=[case[0].split('/')[-1] for case in STOCK]
)
def test_trains_and_evaluates(tmp_path, data, stock, title, family, normalise):
    settings = settings_of(stock, title, family, normalise, str(data / 'crate.pth'))
    path = tmp_path / 'my_config.py'
    path.write_text(''.join(f'{key} = {value!r}\n' for key, value in settings.items()))
    cfg = launch.read_config(str(path), work_dir=str(tmp_path / 'run'))
    fit_to_sample_set(cfg, data)
    launch.prepare_training(cfg)
    check_normalisation(cfg)
    runner = launch.build_runner(cfg)
    before = start_of(runner.model.backbone, settings, data)
    runner.train()

    assert math.isfinite(runner.message_hub.get_scalar('train/loss').current())
    metrics = [value.current() for key, value in runner.message_hub.log_scalars.items() if key.startswith('val/')]
    assert metrics and all(math.isfinite(metric) for metric in metrics)
    moved = runner.optim_wrapper.optimizer.state
    for name, parameter in runner.model.named_parameters():
        if name.startswith(('backbone.', 'neck.')):
            assert parameter in moved, f'{name} had no gradient'
    after = runner.model.backbone.state_dict()
    assert any(not torch.equal(after[name], before[name]) for name in after)
    for name in after:
        torch.testing.assert_close(after[name], before[name], atol=1e-3, rtol=0)  # one step away from the start


def start_of(backbone, settings, data):
    """The weights that a backbone should start from."""
    if 'init_cfg' not in settings['model']['backbone']:
        return {name: value.clone() for name, value in backbone.state_dict().items()}
    weights = torch.load(data / 'crate.pth', weights_only=True)['state_dict']
    return {name.removeprefix('backbone.'): value for name, value in weights.items()}


def check_normalisation(cfg):
    """That of the classifiers whose weights are loaded."""
    preprocessor = cfg.model.get('data_preprocessor') or cfg.data_preprocessor
    ours = Config.fromfile(ROOT / 'configs/_base_/datasets/imagenet_224.py').data_preprocessor
    assert (preprocessor.mean, preprocessor.std) == (ours.mean, ours.std)
    assert ours.to_rgb and preprocessor.get('bgr_to_rgb', preprocessor.get('to_rgb'))
