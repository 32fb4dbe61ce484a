"""configs/maskcut: the rows of the tables of arXiv 2308.16271, names against contents."""

import pytest
import torch
from config_tree import MASKCUT, MASKCUT_NAME, ROOT, build_without_memory, header, load, parse
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from projects.crate.models import observe
from projects.crate.study.published import TABLE_1, TABLE_2

# name -> folder under $CRATE_DATA, split
DATA = {'coco': ('coco', 'val2017'), 'coco128': ('coco128', 'train2017'), 'sample': ('sample/coco', 'val2017')}

every_config = pytest.mark.parametrize('path', MASKCUT, ids=lambda path: path.stem)


def numbers(values):
    return 'AP50 {}, AP75 {}, AP {}'.format(*values)


@pytest.mark.parametrize('row', TABLE_1)
def test_rows_of_table_1(row):
    text = header(ROOT / f'configs/maskcut/maskcut_{row}{"-" if row.endswith("-pre") else "_"}1xb8_coco.py')
    box, mask = numbers(TABLE_1[row][:3]), numbers(TABLE_1[row][3:])
    assert f'Published (Table 1): box {box}; mask {mask}. Not run here.' in text


@pytest.mark.parametrize('row', TABLE_2)
def test_rows_of_table_2(row):
    text = header(ROOT / f'configs/maskcut/maskcut_{row}_1xb8_coco.py')
    assert 'Published (Table 2)' in text and f': box {numbers(TABLE_2[row][:3])}' in text


@every_config
def test_name_says_data_batch_and_size(path):
    name, cfg = parse(MASKCUT_NAME, path), load(path)
    folder, split = DATA[name['data']]
    dataset = cfg.test_dataloader.dataset
    assert dataset.data_root == f'data/{folder}'
    assert (dataset.ann_file, dataset.data_prefix.img) == (f'annotations/instances_{split}.json', f'{split}/')
    assert cfg.test_evaluator.ann_file == f'{dataset.data_root}/{dataset.ann_file}'
    assert (name['gpus'], cfg.test_dataloader.batch_size) == (1, name['batch'])
    assert cfg.test_dataloader.sampler.shuffle is False
    assert dataset.pipeline[1].scale == (name['width'] or 480, name['height'] or 480)


@every_config
def test_protocol(path):
    name, cfg = parse(MASKCUT_NAME, path), load(path)
    assert (cfg.model.tau, cfg.model.num_masks, cfg.model.crf) == (0.15, 3, name['crf'] is not None)
    assert cfg.model.layer == len(build_without_memory(cfg).backbone.layers) - 1
    assert (cfg.test_evaluator.type, cfg.test_evaluator.metric) == ('ClassAgnosticCocoMetric', ['bbox', 'segm'])
    assert cfg.default_scope == 'mmdet'
    assert cfg.default_hooks.visualization.type == 'DetVisualizationHook'  # what --show-dir works with


@every_config
def test_layer_and_crf_are_options(path):
    """Figure 6 goes through the layers."""
    cfg = load(path)
    cfg.merge_from_dict({'model.layer': 2, 'model.crf': True})
    model = build_without_memory(cfg)
    assert model.crf is True
    with torch.device('meta'), observe(model.backbone, [model.layer]) as seen:
        model.backbone(torch.zeros(1, 3, 32, 48))
    assert seen[2].attn is model.backbone.layers[2].attn


def test_every_architecture_runs():
    """Two images through each, in 480 x 480 only as many tokens as a patch of 60 leaves: 8 x 8."""
    for path in MASKCUT:
        cfg = load(path)
        backbone = dict(cfg.model.backbone, patch_size=60, img_size=480)
        arch = dict(embed_dims=24, num_heads=3, num_layers=2)
        backbone['arch'] = {**arch, 'feedforward_channels': 48} if 'mmpretrain' in backbone['type'] else arch
        init_default_scope(cfg.default_scope)
        model = MODELS.build(dict(cfg.model, backbone=backbone, layer=1, crf=False))
        masks = model(torch.randn(2, 3, 480, 480), mode='tensor')
        assert masks.shape == (2, 3, 8, 8) and masks[:, 0].any()


def test_one_variable_moves_data_and_annotations(monkeypatch):
    monkeypatch.setenv('CRATE_DATA', '/elsewhere')
    for path in MASKCUT:
        cfg = Config.fromfile(path)
        assert cfg.test_dataloader.dataset.data_root.startswith('/elsewhere/')
        assert cfg.test_evaluator.ann_file.startswith('/elsewhere/')
