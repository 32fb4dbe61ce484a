"""configs/segmentation: coarse segmentation (Figure 4b and Table 2 of arXiv 2308.16271), and what is trained."""

import itertools
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from config_tree import (
    BACKBONES,
    COARSE_SEGMENTATION,
    COARSE_SEGMENTATION_NAME,
    ORIGINS,
    ROOT,
    SEGMENTATION,
    SEGMENTATION_NAME,
    build_without_memory,
    header,
    load,
    parse,
)
from mmengine.dataset import Compose
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS, init_default_scope
from PIL import Image

from projects.crate.datasets import SEGMENTATION_METAINFO, SampleSpec, make_sample_set
from projects.crate.engine import launch
from projects.crate.study.published import FIGURE_4B, TABLE_2

# name -> folder under $CRATE_DATA, type
DATA = {
    'voc2012': ('VOCdevkit/VOC2012', 'PascalVOCDataset'),
    'sample': ('sample/VOCdevkit/VOC2012', 'BaseSegDataset'),
}

TRAINED = [path for path in SEGMENTATION if path not in COARSE_SEGMENTATION]
# name -> type, folder under $CRATE_DATA, classes
TRAINING_DATA = {
    'voc2012aug': ('PascalVOCDataset', 'VOCdevkit/VOC2012', 21),
    'ade20k': ('ADE20KDataset', 'ade/ADEChallengeData2016', 150),
    'sample': ('BaseSegDataset', 'sample/VOCdevkit/VOC2012', 9),
}
# beginning of a backbone's name, the longer first -> attention, feed-forward part
PARTS = {'vit': ('MHSA', 'MLP'), 'crate-alpha': ('MSSA', 'ODL'), 'crate': ('MSSA', 'ISTA')}

every_config = pytest.mark.parametrize('path', COARSE_SEGMENTATION, ids=lambda path: path.stem)
every_trained = pytest.mark.parametrize('path', TRAINED, ids=lambda path: path.stem)


def config(row):
    return ROOT / f'configs/segmentation/coarse-seg_{row}{"-" if row.endswith("-pre") else "_"}1xb8_voc2012.py'


@pytest.mark.parametrize('row', FIGURE_4B)
def test_rows_of_figure_4b(row):
    assert re.search(rf'Published \(Figure 4b[^)]*\): mIoU {FIGURE_4B[row]}\. Not run here\.', header(config(row)))


@pytest.mark.parametrize('row', TABLE_2)
def test_rows_of_table_2(row):
    text = header(config(row))
    assert re.search(rf'Published \([^)]*Table 2\)[^:]*: mIoU {TABLE_2[row][-1]}\. Not run here\.', text)


@every_config
def test_name_says_data_batch_and_size(path):
    name, cfg = parse(COARSE_SEGMENTATION_NAME, path), load(path)
    folder, kind = DATA[name['data']]
    dataset = cfg.test_dataloader.dataset
    assert (dataset.type, dataset.data_root) == (kind, f'data/{folder}')
    assert dataset.ann_file == 'ImageSets/Segmentation/val.txt'
    assert dataset.data_prefix == dict(img_path='JPEGImages', seg_map_path='SegmentationClass')
    assert (name['gpus'], cfg.test_dataloader.batch_size) == (1, name['batch'])
    assert cfg.test_dataloader.sampler.shuffle is False
    assert dataset.pipeline[1].scale == (name['width'] or 480, name['height'] or 480)


@every_config
def test_protocol(path):
    cfg = load(path)
    assert cfg.test_evaluator == dict(type='BestHeadIoU', rule='mass', share=0.6, resolution='image')
    model = build_without_memory(cfg)
    assert model.layers == [len(model.backbone.layers) - 1]
    assert cfg.default_scope == 'mmseg'
    assert cfg.default_hooks.visualization.type == 'SegVisualizationHook'  # what --show-dir works with
    assert cfg.default_hooks.visualization.interval == 1  # every batch


def test_classes_are_those_of_the_sample_set():
    classes = {
        tuple(cfg.test_dataloader.dataset.metainfo.classes)
        for cfg in map(load, SEGMENTATION)
        if 'metainfo' in cfg.test_dataloader.dataset
    }
    assert classes == {SEGMENTATION_METAINFO['classes']}


@every_config
def test_the_options_of_the_header(path):
    reference = header(config('crate-emergence-small-p8'))
    options = ['model.layers=all', 'test_evaluator.rule=top', 'test_evaluator.resolution=token']
    options += ['test_dataloader.dataset.pipeline.1.scale=224']
    assert all(f'--cfg-options {option} ' in reference for option in options)
    cfg = launch.read_config(str(path), options)
    model = build_without_memory(cfg)
    assert model.layers == list(range(len(model.backbone.layers)))
    assert (cfg.test_evaluator.rule, cfg.test_evaluator.resolution) == ('top', 'token')
    init_default_scope(cfg.default_scope)
    assert Compose(cfg.test_dataloader.dataset.pipeline).transforms[1].scale == (224, 224)


def test_every_architecture_runs():
    """Two images through each, in 480 x 480 only as many tokens as a patch of 60 leaves: 8 x 8."""
    for path in COARSE_SEGMENTATION:
        cfg = load(path)
        backbone = dict(cfg.model.backbone, patch_size=60, img_size=480)
        arch = dict(embed_dims=24, num_heads=3, num_layers=2)
        backbone['arch'] = {**arch, 'feedforward_channels': 48} if 'mmpretrain' in backbone['type'] else arch
        init_default_scope(cfg.default_scope)
        model = MODELS.build(dict(cfg.model, backbone=backbone))
        maps = model(torch.randn(2, 3, 480, 480), mode='tensor')
        assert {layer: batch.shape for layer, batch in maps.items()} == {1: (2, 3, 8, 8)}


def test_one_variable_moves_the_data():
    learners = [next(path for path in TRAINED if data in path.stem) for data in TRAINING_DATA]
    for path in [*COARSE_SEGMENTATION, *learners]:
        cfg = load(path, Path('/elsewhere'))
        datasets = [cfg.test_dataloader.dataset, *(training_sets(cfg) if path in learners else [])]
        assert all(dataset.data_root.startswith('/elsewhere/') for dataset in datasets)


def training_sets(cfg):
    """The data sets that are trained on, without the one that joins them."""
    dataset = cfg.train_dataloader.dataset
    return dataset.get('datasets', [dataset])


def test_every_backbone_on_every_data_set():
    names = [parse(SEGMENTATION_NAME, path) for path in TRAINED]
    rows = [(name['kind'], name['data'], name['backbone']) for name in names if name['data'] != 'sample']
    assert sorted(rows) == sorted(itertools.product(('upernet', 'linear'), ('voc2012aug', 'ade20k'), ORIGINS))


@every_trained
def test_name_says_schedule_and_batch(path):
    name, cfg = parse(SEGMENTATION_NAME, path), load(path)
    length = name['length'] * {'k': 1000, 'i': 1}[name['unit']]
    assert (cfg.train_cfg.type, cfg.train_cfg.max_iters) == ('IterBasedTrainLoop', length)
    assert length % cfg.train_cfg.val_interval == length % cfg.default_hooks.checkpoint.interval == 0
    warm_up, poly = cfg.param_scheduler
    assert (warm_up.type, poly.type) == ('LinearLR', 'PolyLR')
    assert warm_up.end == poly.begin <= length / 10 and 'end' not in poly  # which is the training's, by default
    assert cfg.train_dataloader.batch_size == name['batch']
    assert cfg.auto_scale_lr == dict(base_batch_size=name['gpus'] * name['batch'], enable=True)
    if name['gpus'] > 1:
        assert f'dist_train.sh {path.relative_to(ROOT)} {name["gpus"]} ' in header(path)


@every_trained
def test_name_says_backbone_and_what_it_starts_from(path):
    name, cfg = parse(SEGMENTATION_NAME, path), load(path)
    options, backbone = cfg.model.backbone, build_without_memory(cfg).backbone
    assert (backbone.embed_dims, backbone.num_heads, backbone.num_layers) == BACKBONES[name['backbone']]
    layer = backbone.layers[0]
    parts = next(parts for beginning, parts in PARTS.items() if name['backbone'].startswith(beginning))
    assert (type(layer.attn).__name__, type(layer.ffn).__name__) == parts
    checkpoint = f'checkpoints/{name["backbone"]}-p{name["patch"]}_{name["pretraining"]}.pth'
    assert options.init_cfg == dict(type='Pretrained', checkpoint=checkpoint, prefix='backbone.')
    assert checkpoint in header(path)
    assert (options.patch_size, options.img_size) == (name['patch'], 48 if name['data'] == 'sample' else 224)
    assert name['data'] == 'sample' or ORIGINS[name['backbone']] in header(path)


@every_trained
def test_name_says_what_is_learnt(path):
    name, cfg = parse(SEGMENTATION_NAME, path), load(path)
    kind, folder, classes = TRAINING_DATA[name['data']]
    datasets = [*training_sets(cfg), cfg.val_dataloader.dataset]
    assert {(dataset.type, dataset.data_root) for dataset in datasets} == {(kind, f'data/{folder}')}
    assert f'$CRATE_DATA/{folder}' in header(path)
    assert cfg.val_dataloader == cfg.test_dataloader and cfg.val_dataloader.sampler.shuffle is False
    model = build_without_memory(cfg)
    heads = [model.decode_head, *([model.auxiliary_head] if model.with_auxiliary_head else [])]
    assert {(head.num_classes, head.ignore_index) for head in heads} == {(classes, 255)}
    size = name['height'], name['width']
    whole = name['data'] == 'sample'  # scenes of that size; parts of them are enough to learn from
    crop = tuple(side // 2 for side in size) if whole else size
    crops = [step.crop_size for dataset in datasets for step in dataset.pipeline if step.type == 'RandomCrop']
    assert (cfg.model.data_preprocessor.size, crops) == (crop, [crop] * len(training_sets(cfg)))
    slide = dict(mode='slide', crop_size=size, stride=tuple(2 * side // 3 for side in size))
    assert cfg.model.test_cfg == (dict(mode='whole') if whole else slide)


@every_trained
def test_name_says_kind(path):
    name, model = parse(SEGMENTATION_NAME, path), build_without_memory(load(path))
    trained = {key: value.numel() for key, value in model.named_parameters() if value.requires_grad}
    if name['kind'] == 'linear':
        assert 'frozen' in header(path)
        width, classes = model.backbone.embed_dims, model.num_classes
        assert trained == {
            'neck.norm.weight': width,
            'neck.norm.bias': width,
            'decode_head.conv_seg.weight': width * classes,
            'decode_head.conv_seg.bias': classes,
        }
        assert not model.backbone.windowed_layers and model.decode_head.dropout is None
        return
    assert type(model.decode_head).__name__ == 'UPerHead' and model.with_auxiliary_head
    assert len(trained) == len([*model.parameters()])
    assert model.backbone.windowed_layers.isdisjoint(model.backbone.out_indices) or name['data'] == 'sample'
    assert model.backbone.window_size == {4: (12, 12), 8: (32, 32), 16: None}[name['patch']]


def shrink(cfg, width=8):
    """The config with a narrow backbone, as deep as it was, and narrow heads."""
    layers = build_without_memory(cfg).backbone.num_layers
    cfg.model.backbone.arch = dict(embed_dims=width, num_heads=2, num_layers=layers)
    if 'auxiliary_head' in cfg.model:
        cfg.model.neck.merge(dict(in_channels=[width] * 4, out_channels=width))
        cfg.model.decode_head.merge(dict(in_channels=[width] * 4, channels=width))
        cfg.model.auxiliary_head.merge(dict(in_channels=width, channels=width))
    else:
        cfg.model.neck.in_channels = width
        cfg.model.decode_head.merge(dict(in_channels=width, channels=width))


@pytest.mark.parametrize('path', [path for path in TRAINED if 'upernet' in path.stem], ids=lambda path: path.stem)
def test_strides_of_the_maps(path):
    """4, 8, 16 and 32, whatever the patch."""
    cfg = load(path)
    shrink(cfg)
    cfg.model.backbone.init_cfg = None
    init_default_scope(cfg.default_scope)
    maps = MODELS.build(cfg.model).extract_feat(torch.randn(1, 3, 64, 96))
    assert [tuple(one.shape[2:]) for one in maps] == [(16, 24), (8, 12), (4, 6), (2, 3)]


@every_trained
def test_optimiser(path):
    """AdamW; where the backbone is trained, deeper layers faster, norms, biases, [CLS] and positions without decay."""
    cfg = load(path)
    model, options = build_without_memory(cfg), cfg.optim_wrapper
    groups = build_optim_wrapper(model, dict(options, type='OptimWrapper')).optimizer.param_groups
    group_of = {id(parameter): group for group in groups for parameter in group['params']}
    assert options.optimizer.type == 'AdamW'
    for name, parameter in model.named_parameters():
        if 'linear' in path.stem:
            rate, decay = options.optimizer.lr, options.optimizer.weight_decay
        else:
            depth, depths = model.backbone.get_layer_depth(name, 'backbone.')
            rate = options.optimizer.lr * options.paramwise_cfg.layer_decay_rate ** (depths - 1 - depth)
            exempt = parameter.ndim == 1 or name in ('backbone.cls_token', 'backbone.pos_embed')
            decay = 0 if exempt else options.optimizer.weight_decay
        group = group_of[id(parameter)]
        assert (group['lr'], group['weight_decay']) == (pytest.approx(rate), decay), name


def write_labels(root, data, values):
    """Images 30 high and 40 wide in the layout of a data set, for training and validation; labels are ``values``."""
    labels = np.resize(np.array(values, np.uint8), (30, 40))
    if data == 'ade20k':
        folders = [(f'images/{split}', f'annotations/{split}') for split in ('training', 'validation')]
    else:
        folders = [('JPEGImages', kind) for kind in ('SegmentationClass', 'SegmentationClassAug')]
        lists = root / 'ImageSets/Segmentation'
        lists.mkdir(parents=True)
        for name in ('train', 'aug', 'val'):
            (lists / f'{name}.txt').write_text('one\n')
    for images, annotations in folders:
        for folder in (images, annotations):
            (root / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((30, 40, 3), 99, np.uint8)).save(root / images / 'one.jpg')
        Image.fromarray(labels).save(root / annotations / 'one.png')


@pytest.mark.parametrize(
    ('data', 'values', 'learnt'),
    [
        ('voc2012aug', [0, 1, 20, 255], {0, 1, 20, 255}),
        ('ade20k', [0, 1, 2, 150], {255, 0, 1, 149}),  # 0 is 'other', which is ignored
    ],
)
def test_labels(data, values, learnt, tmp_path):
    _, folder, classes = TRAINING_DATA[data]
    write_labels(tmp_path / folder, data, values)
    cfg = load(next(path for path in TRAINED if data in path.stem), tmp_path)
    init_default_scope(cfg.default_scope)
    for loader, number in ((cfg.train_dataloader, 2 if data == 'voc2012aug' else 1), (cfg.val_dataloader, 1)):
        dataset = DATASETS.build(loader.dataset)
        assert (len(dataset), len(dataset.metainfo['classes'])) == (number, classes)
        for sample in dataset:
            assert set(sample['data_samples'].gt_sem_seg.data.unique().tolist()) == learnt


@pytest.fixture
def scenes(tmp_path):
    """$CRATE_DATA with a few scenes of the sample set as themselves, and as VOC with its additional annotations."""
    make_sample_set(tmp_path / 'sample', 'voc', SampleSpec(8, 8, (96, 128), 2), workers=1)
    voc = tmp_path / 'VOCdevkit/VOC2012'
    shutil.copytree(tmp_path / 'sample/VOCdevkit/VOC2012', voc)
    shutil.copytree(voc / 'SegmentationClass', voc / 'SegmentationClassAug')
    shutil.copy(voc / 'ImageSets/Segmentation/train.txt', voc / 'ImageSets/Segmentation/aug.txt')
    return tmp_path


@pytest.mark.usefixtures('fast_runner')
@pytest.mark.parametrize(
    'stem',
    [
        'upernet_crate-base-p16_in1k-pre-8xb2-poly-40k_voc2012aug-512x512px',
        'linear_vit-base-p16_in1k-pre-8xb2-poly-40k_voc2012aug-512x512px',
        'upernet_crate-w128d5-p4_sample-pre-1xb8-poly-300i_sample-96x128px',
    ],
)
def test_a_step_of_training_and_evaluation(stem, scenes):
    """Through what the tools call, from a checkpoint; a narrow model on few scenes, the rest as the config has it."""
    cfg = load(ROOT / f'configs/segmentation/{stem}.py', scenes)
    cfg.work_dir = str(scenes / 'run')
    shrink(cfg)
    init_default_scope(cfg.default_scope)
    source = MODELS.build(dict(cfg.model.backbone, init_cfg=None)).state_dict()
    torch.save(dict(state_dict={f'backbone.{key}': value for key, value in source.items()}), scenes / 'source.pth')
    cfg.model.backbone.init_cfg.checkpoint = str(scenes / 'source.pth')
    cfg.train_cfg.merge(dict(max_iters=1, val_interval=1))
    cfg.param_scheduler = []
    cfg.optim_wrapper.optimizer.lr = 0.1  # a step that no weight is too large to show
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.merge(dict(num_workers=0, persistent_workers=False))
    cfg.val_dataloader.dataset.indices = 1
    launch.prepare_training(cfg)
    runner = launch.build_runner(cfg)
    before = {key: value.clone() for key, value in runner.model.state_dict().items()}
    runner.train()
    after = runner.model.state_dict()
    assert 0 <= runner.message_hub.get_scalar('val/mIoU').current() <= 100
    changed = {key for key, value in after.items() if not torch.equal(value, before[key])}
    trained = {key for key, value in runner.model.named_parameters() if value.requires_grad}
    assert trained <= changed
    for key, value in source.items():
        assert torch.equal(after[f'backbone.{key}'], value) == stem.startswith('linear'), key
