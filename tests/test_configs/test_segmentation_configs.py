"""configs/segmentation that train: recipes against their sources, labels, and a step of training and evaluation."""

import shutil

import numpy as np
import pytest
import torch
from config_rows import first_rows
from config_tree import ROOT, build_without_memory, load
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS, init_default_scope
from PIL import Image

from projects.crate.datasets import SampleSpec, make_sample_set
from projects.crate.engine import launch

RECIPES = first_rows('segmentation/upernet_', 'segmentation/linear_')
TYPES = dict(voc2012aug='PascalVOCDataset', ade20k='ADE20KDataset', sample='BaseSegDataset', camvid='BaseSegDataset')

every_recipe = pytest.mark.parametrize('row', RECIPES, ids=lambda row: row.recipe.file)


@every_recipe
def test_schedule(row):
    cfg, length = load(row.path), row.recipe.length
    assert cfg.train_cfg.type == 'IterBasedTrainLoop'
    assert length % cfg.train_cfg.val_interval == length % cfg.default_hooks.checkpoint.interval == 0
    warm_up, poly = cfg.param_scheduler
    assert (warm_up.type, poly.type) == ('LinearLR', 'PolyLR')
    assert warm_up.end == poly.begin <= length / 10 and 'end' not in poly  # which is the training's, by default


@every_recipe
def test_what_is_learnt(row):
    cfg = load(row.path)
    training = cfg.train_dataloader.dataset
    training = training.get('datasets', [training])
    datasets = [*training, cfg.val_dataloader.dataset]
    assert {dataset.type for dataset in datasets} == {TYPES[row.recipe.data]}
    model = build_without_memory(cfg)
    heads = [model.decode_head, *([model.auxiliary_head] if model.with_auxiliary_head else [])]
    assert {(head.num_classes, head.ignore_index) for head in heads} == {(row.recipe.classes, 255)}
    size = row.recipe.size
    whole = row.recipe.data in ('sample', 'camvid')  # images of that size; parts of scenes are enough to learn from
    crop = tuple(side // 2 for side in size) if row.recipe.data == 'sample' else size
    crops = [step.crop_size for dataset in datasets for step in dataset.pipeline if step.type == 'RandomCrop']
    assert (cfg.model.data_preprocessor.size, crops) == (crop, [crop] * len(training) * (row.recipe.data != 'camvid'))
    slide = dict(mode='slide', crop_size=size, stride=tuple(2 * side // 3 for side in size))
    assert cfg.model.test_cfg == (dict(mode='whole') if whole else slide)


@every_recipe
def test_what_is_trained(row):
    model = build_without_memory(load(row.path))
    trained = {key: value.numel() for key, value in model.named_parameters() if value.requires_grad}
    if 'linear' in row.recipe.file:
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
    assert model.backbone.windowed_layers.isdisjoint(model.backbone.out_indices) or row.recipe.data == 'sample'


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


@every_recipe
def test_optimiser(row):
    """AdamW; where the backbone is trained, deeper layers faster, norms, biases, [CLS] and positions without decay."""
    cfg = load(row.path)
    model, options = build_without_memory(cfg), cfg.optim_wrapper
    groups = build_optim_wrapper(model, dict(options, type='OptimWrapper')).optimizer.param_groups
    group_of = {id(parameter): group for group in groups for parameter in group['params']}
    assert options.optimizer.type == 'AdamW'
    for name, parameter in model.named_parameters():
        if 'linear' in row.recipe.file:
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
    row = next(row for row in RECIPES if row.recipe.data == data)
    write_labels(tmp_path / row.recipe.root, data, values)
    cfg = load(row.path, tmp_path)
    init_default_scope(cfg.default_scope)
    for loader, number in ((cfg.train_dataloader, 2 if data == 'voc2012aug' else 1), (cfg.val_dataloader, 1)):
        dataset = DATASETS.build(loader.dataset)
        assert (len(dataset), len(dataset.metainfo['classes'])) == (number, row.recipe.classes)
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
