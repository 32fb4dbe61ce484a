"""configs/segmentation: the rows of Figure 4b and Table 2 of arXiv 2308.16271, names against contents."""

import re

import pytest
import torch
from config_tree import ROOT, SEGMENTATION, SEGMENTATION_NAME, build_without_memory, header, load, parse
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import MODELS, init_default_scope
from published import FIGURE_4B, TABLE_2

from projects.crate.datasets import SEGMENTATION_METAINFO
from projects.crate.engine.launch import read_config

# name -> folder under $CRATE_DATA, type
DATA = {
    'voc2012': ('VOCdevkit/VOC2012', 'PascalVOCDataset'),
    'sample': ('sample/VOCdevkit/VOC2012', 'BaseSegDataset'),
}

every_config = pytest.mark.parametrize('path', SEGMENTATION, ids=lambda path: path.stem)


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
    name, cfg = parse(SEGMENTATION_NAME, path), load(path)
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
    cfg = read_config(str(path), options)
    model = build_without_memory(cfg)
    assert model.layers == list(range(len(model.backbone.layers)))
    assert (cfg.test_evaluator.rule, cfg.test_evaluator.resolution) == ('top', 'token')
    init_default_scope(cfg.default_scope)
    assert Compose(cfg.test_dataloader.dataset.pipeline).transforms[1].scale == (224, 224)


def test_every_architecture_runs():
    """Two images through each, in 480 x 480 only as many tokens as a patch of 60 leaves: 8 x 8."""
    for path in SEGMENTATION:
        cfg = load(path)
        backbone = dict(cfg.model.backbone, patch_size=60, img_size=480)
        arch = dict(embed_dims=24, num_heads=3, num_layers=2)
        backbone['arch'] = {**arch, 'feedforward_channels': 48} if 'mmpretrain' in backbone['type'] else arch
        init_default_scope(cfg.default_scope)
        model = MODELS.build(dict(cfg.model, backbone=backbone))
        maps = model(torch.randn(2, 3, 480, 480), mode='tensor')
        assert {layer: batch.shape for layer, batch in maps.items()} == {1: (2, 3, 8, 8)}


def test_one_variable_moves_the_data(monkeypatch):
    monkeypatch.setenv('CRATE_DATA', '/elsewhere')
    for path in SEGMENTATION:
        assert Config.fromfile(path).test_dataloader.dataset.data_root.startswith('/elsewhere/')
