"""Every config against its row: what its name and header promise is what mmengine makes of it."""

from itertools import pairwise

import pytest
import torch
from config_rows import BACKBONES, ROWS, WEIGHTS
from config_tree import BASE, LEAVES, ROOT, bases, build_without_memory, header, load

from projects.crate.models.simple_fpn import check_strides

# beginning of a path -> type of the model, library
MODELS = {
    'classification/': ('ImageClassifier', 'mmpretrain'),
    'detection/mask-rcnn_': ('MaskRCNN', 'mmdet'),
    'detection/cascade-mask-rcnn_': ('CascadeRCNN', 'mmdet'),
    'detection/retinanet_': ('RetinaNet', 'mmdet'),
    'detection/dino_': ('DINO', 'mmdet'),
    'maskcut/maskcut_': ('MaskCutDetector', 'mmdet'),
    'discovery/corloc_': ('MaskCutDetector', 'mmdet'),
    'discovery/saliency_': ('MaskCutDetector', 'mmseg'),
    'segmentation/upernet_': ('EncoderDecoder', 'mmseg'),
    'segmentation/linear_': ('EncoderDecoder', 'mmseg'),
    'segmentation/coarse-seg_': ('AttentionSegmentor', 'mmseg'),
}
# heads on DINOv2 are an upper mark for the small models, and its backbone stays as it is
FROZEN = ('camvid-240x320px', 'coco128-half-320x320px')
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
OWN = ('model', 'train_dataloader', 'auto_scale_lr')  # what a config may change of its recipe
PARTS = dict(MultiheadAttention='MHSA', FFN='MLP')  # mmpretrain's names


def test_every_config_has_a_row():
    """And every row a config: a name that promises something else is none of them."""
    assert sorted(row.path for row in ROWS) == LEAVES


def test_every_base_file_is_used():
    used = {*LEAVES}
    while new := {base for path in used for base in bases(path)} - used:
        used |= new
    assert {*BASE.rglob('*.py')} - used == set()


@pytest.mark.parametrize('row', ROWS, ids=lambda row: row.path.stem)
def test_config(row):
    cfg = load(row.path)
    check_file(row)
    check_recipe(row, cfg)
    check_data(row, cfg)
    if row.recipe.schedule:
        check_training(row, cfg)
    else:
        assert 'train_cfg' not in cfg and cfg.test_dataloader.batch_size == row.batch
    model = build_without_memory(cfg)
    assert (cfg.model.type, cfg.default_scope) == MODELS[row.recipe.prefix]
    if row.backbone in BACKBONES:  # not a ResNet of mmdet
        check_backbone(row, cfg, getattr(model.backbone, 'backbone', model.backbone))  # within a FrozenViT
        check_widths(row, cfg, model)
    check_classes(row, cfg, model)


def check_file(row):
    """Header, backbone x recipe, the difference."""
    assert len(row.path.read_text().splitlines()) <= 15
    text = header(row.path)
    assert 'ot run here' in text or 'easured' in text
    assert [passage for passage in row.published() if passage not in text] == []
    parts = [BASE / f'backbones/{row.backbone}.py'] * (row.backbone in BACKBONES)
    parts.append(BASE / f'recipes/{row.recipe.file}.py')
    parts += [BASE / 'strategies/fsdp.py'] * ('fsdp' in row.recipe.schedule)
    assert bases(row.path) == parts


def check_recipe(row, cfg):
    """Nothing but the model and the batch is the config's own, so a test of a recipe's first config is one of all."""
    recipe = load(BASE / f'recipes/{row.recipe.file}.py')
    own = (*OWN, 'optim_wrapper') if 'fsdp' in row.recipe.schedule else OWN
    assert {key: value for key, value in recipe.items() if key not in own and cfg[key] != value} == {}
    if 'train_dataloader' in recipe:
        batches = (dict(one.train_dataloader, batch_size=None) for one in (recipe, cfg))
        assert next(batches) == next(batches)
    assert 'projects.crate' in cfg.custom_imports.imports


def check_data(row, cfg):
    one = row.recipe
    expected = LOADERS[::2] if one.data == 'in21k' else LOADERS if one.schedule else LOADERS[2:]
    assert [loader for loader in LOADERS if loader in cfg] == list(expected)
    images = {}
    for loader in expected:
        dataset = cfg[loader].dataset
        for part in dataset.get('datasets', [dataset.get('dataset', dataset)]):
            root = one.train_root if loader == 'train_dataloader' else ''
            assert part.data_root == f'data/{root or one.root}'
            images[loader] = [part.get(key) for key in ('split', 'data_prefix', 'ann_file', 'indices')]
        assert cfg[loader].sampler.shuffle is (loader == 'train_dataloader')
        if 'ann_file' in cfg.get(loader.replace('dataloader', 'evaluator'), {}):
            truth = cfg[loader.replace('dataloader', 'evaluator')].ann_file
            assert truth == f'{dataset.data_root}/{dataset.ann_file}'
    if 'val_dataloader' in expected:
        # CamVid has images of its own for testing
        assert (cfg.val_dataloader == cfg.test_dataloader) == (one.data != 'camvid')
        # 128 images are to be learnt by heart
        assert images['train_dataloader'] != images['val_dataloader'] or one.file == 'mask-rcnn_coco128'


def check_training(row, cfg):
    one = row.recipe
    assert (cfg.train_dataloader.batch_size, cfg.auto_scale_lr.base_batch_size) == (row.batch, row.gpus * row.batch)
    assert cfg.auto_scale_lr.enable
    length = cfg.train_cfg.get('max_epochs' if one.by_epoch else 'max_iters')
    assert length == one.length
    assert cfg.train_cfg.get('by_epoch', 'Epoch' in cfg.train_cfg.get('type', '')) == one.by_epoch
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.weight_decay) == (one.optimizer[0], one.optimizer[2])
    assert optimizer.lr == pytest.approx(one.optimizer[1])
    schedulers = cfg.param_scheduler if isinstance(cfg.param_scheduler, list) else [cfg.param_scheduler]
    word = one.schedule.split('-')[-2]
    assert (
        schedulers[-1].type
        in dict(coslr=('CosineAnnealingLR', 'RampedCosineLR'), step=('MultiStepLR',), poly=('PolyLR',))[word]
    )
    assert schedulers[-1].by_epoch == one.by_epoch and schedulers[-1].get('end', length) == length
    steps = [0, *schedulers[-1].get('milestones', []), length]
    assert all(a < b for a, b in pairwise(steps))
    tags = one.schedule.split('-')
    assert ('fsdp' in tags) == ('FSDP' in cfg.get('strategy', {}).get('type', ''))
    assert ('mixup' in tags) == ('augments' in cfg.model.get('train_cfg', {}))
    frozen = 'linear' in tags or one.prefix == 'segmentation/linear_' or one.end in FROZEN and one.start == 'dinov2'
    layers = BACKBONES[row.backbone][2] if row.backbone in BACKBONES else None
    assert frozen == (cfg.model.backbone.get('frozen_stages', -1) == layers)
    if row.gpus > 8:
        assert 'NNODES=' in _recipe_text(row)


def _recipe_text(row):
    """Header of a recipe, and of the one that it is built on."""
    path = BASE / f'recipes/{row.recipe.file}.py'
    return ' '.join(header(file) for file in (path, *bases(path)) if file.parent == path.parent)


def check_backbone(row, cfg, backbone):
    width, heads, layers, attention, ffn, pixels = BACKBONES[row.backbone]
    options, layer = cfg.model.backbone.get('backbone', cfg.model.backbone), backbone.layers[0]
    assert (backbone.embed_dims, layer.attn.num_heads, len(backbone.layers)) == (width, heads, layers)
    assert (options.patch_size, options.img_size) == (row.patch, pixels)
    names = (type(part).__name__ for part in (layer.attn, layer.ffn))
    assert [PARTS.get(name, name) for name in names] == [attention, ffn]
    assert getattr(layer.ffn, 'threshold', None) != 'soft' or 'sth' in row.backbone
    assert cfg.width == width
    if row.recipe.start == 'weights':
        data, origin = WEIGHTS[row.backbone]
        shipped = f'docs/experiments/weights/{row.backbone}_{data}.safetensors'
        checkpoint = shipped if (ROOT / shipped).is_file() else f'checkpoints/{row.backbone}_{data}.pth'
        assert options.init_cfg == dict(type='Pretrained', checkpoint=checkpoint, prefix='backbone.')
        text = header(BASE / f'backbones/{row.backbone}.py')
        assert origin in text
        assert not origin.endswith('.py') or (BASE.parent / 'classification' / origin) in LEAVES
    elif row.recipe.start.startswith('dino') and row.recipe.schedule:
        checkpoint = f'checkpoints/{row.backbone}_{row.recipe.start}.pth'
        assert options.init_cfg == dict(type='Pretrained', checkpoint=checkpoint, prefix='backbone.')
    elif row.recipe.prefix == 'classification/' or not row.recipe.schedule:
        # what is trained is what is measured: the weights fit
        assert options == cfg.backbone and 'init_cfg' not in options and cfg.load_from is None


def check_widths(row, cfg, model):
    """Check that neck and heads accept the width of the backbone."""
    if row.recipe.prefix == 'classification/':
        assert cfg.model.head.in_channels == cfg.width
    elif row.recipe.prefix.startswith('detection/'):
        assert (cfg.model.neck.in_channels, cfg.model.neck.in_stride) == (cfg.width, row.patch)
        check_strides(model)
    elif row.recipe.schedule:
        shape = 1, cfg.width, 64 // row.patch, 96 // row.patch
        maps = model.eval().neck([torch.empty(shape, device='meta') for _ in model.backbone.out_indices])
        if 'upernet' in row.recipe.file:  # built for strides of 4, 8, 16 and 32
            assert [tuple(one.shape[2:]) for one in maps] == [(16, 24), (8, 12), (4, 6), (2, 3)]
            large = dict.fromkeys(('ade20k', 'voc2012aug'), (32, 32) if row.patch == 8 else None)
            assert model.backbone.window_size == dict(large, sample=(12, 12), camvid=None)[row.recipe.data]
        assert model.decode_head(maps).shape[1] == row.recipe.classes
        assert not model.with_auxiliary_head or model.auxiliary_head(maps).shape[1] == row.recipe.classes


def check_classes(row, cfg, model):
    classes = row.recipe.classes
    if row.recipe.prefix == 'classification/':
        assert model.head.num_classes == cfg.data_preprocessor.get('num_classes', classes) == classes
    elif row.recipe.prefix.startswith('detection/'):
        head = model.bbox_head if row.recipe.prefix.endswith(('retinanet_', 'dino_')) else model.roi_head.bbox_head
        heads = head if row.recipe.prefix.startswith('detection/cascade-') else [head]
        assert [one.num_classes for one in heads] == [classes] * len(heads)
