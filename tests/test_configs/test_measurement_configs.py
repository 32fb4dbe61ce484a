"""configs/maskcut and coarse segmentation measure what was trained elsewhere: protocol, options, colours, images."""

import numpy as np
import pytest
import torch
from config_rows import ROWS, first_rows
from config_tree import BASE, build_without_memory, header, load
from mmengine.dataset import Compose
from mmengine.registry import MODELS, init_default_scope
from PIL import Image

from projects.crate.datasets import SEGMENTATION_METAINFO
from projects.crate.engine import launch
from projects.crate.models import observe

MASKCUT, COARSE = first_rows('maskcut/'), first_rows('segmentation/coarse-seg_')
TRAINED = {row.backbone: row for row in ROWS if row.recipe.prefix == 'classification/' and not row.recipe.start}

every_recipe = pytest.mark.parametrize('row', [*MASKCUT, *COARSE], ids=lambda row: row.recipe.file)
every_maskcut = pytest.mark.parametrize('row', MASKCUT, ids=lambda row: row.recipe.file)
every_coarse = pytest.mark.parametrize('row', COARSE, ids=lambda row: row.recipe.file)


def rows_of(prefix):
    """All configs of a measurement."""
    return [row for row in ROWS if row.recipe.prefix == prefix]


def test_maskcut_protocol():
    for row in rows_of('maskcut/maskcut_'):
        cfg = load(row.path)
        assert (cfg.model.tau, cfg.model.num_masks, cfg.model.crf) == (0.15, 3, row.recipe.end.endswith('-crf'))
        assert cfg.model.layer == len(build_without_memory(cfg).backbone.layers) - 1, row.path.name
        assert (cfg.test_evaluator.type, cfg.test_evaluator.metric) == ('ClassAgnosticCocoMetric', ['bbox', 'segm'])
        assert cfg.default_hooks.visualization.type == 'DetVisualizationHook'  # what --show-dir works with


def test_coarse_segmentation_protocol():
    for row in rows_of('segmentation/coarse-seg_'):
        cfg = load(row.path)
        assert cfg.test_evaluator == dict(type='BestHeadIoU', rule='mass', share=0.6, resolution='image')
        assert cfg.model.layers == -1, row.path.name
        assert cfg.default_hooks.visualization.type == 'SegVisualizationHook'  # what --show-dir works with
        assert cfg.default_hooks.visualization.interval == 1  # every batch


@every_maskcut
def test_annotations(row):
    dataset = load(row.path).test_dataloader.dataset
    split = 'train2017' if row.recipe.data == 'coco128' else 'val2017'
    assert (dataset.ann_file, dataset.data_prefix.img) == (f'annotations/instances_{split}.json', f'{split}/')


@every_coarse
def test_label_maps(row):
    dataset = load(row.path).test_dataloader.dataset
    assert dataset.type == ('BaseSegDataset' if row.recipe.data == 'sample' else 'PascalVOCDataset')
    assert dataset.ann_file == 'ImageSets/Segmentation/val.txt'
    assert dataset.data_prefix == dict(img_path='JPEGImages', seg_map_path='SegmentationClass')


def test_classes_are_those_of_the_sample_set():
    classes = [load(row.path).test_dataloader.dataset.metainfo.classes for row in COARSE if row.recipe.data == 'sample']
    assert [*map(tuple, classes)] == [SEGMENTATION_METAINFO['classes']]


@every_maskcut
def test_layer_and_crf_are_options(row):
    """Figure 6 goes through the layers."""
    cfg = load(row.path)
    cfg.merge_from_dict({'model.layer': 2, 'model.crf': True})
    model = build_without_memory(cfg)
    assert model.crf is True
    with torch.device('meta'), observe(model.backbone, [model.layer]) as seen:
        model.backbone(torch.zeros(1, 3, 32, 48))
    assert seen[2].attn is model.backbone.layers[2].attn


@every_coarse
def test_the_options_of_the_header(row):
    text = header(BASE / 'recipes/coarse-seg_voc2012.py')
    options = ['model.layers=all', 'test_evaluator.rule=top', 'test_evaluator.resolution=token']
    options += ['test_dataloader.dataset.pipeline.1.scale=224']
    assert all(f'--cfg-options {option} ' in text for option in options)
    cfg = launch.read_config(str(row.path), options)
    model = build_without_memory(cfg)
    assert model.layers == list(range(len(model.backbone.layers)))
    assert (cfg.test_evaluator.rule, cfg.test_evaluator.resolution) == ('top', 'token')
    init_default_scope(cfg.default_scope)
    assert Compose(cfg.test_dataloader.dataset.pipeline).transforms[1].scale == (224, 224)


@pytest.mark.parametrize(('prefix', 'depth'), [('maskcut/maskcut_', 'layer'), ('segmentation/coarse-seg_', 'layers')])
def test_every_architecture_runs(prefix, depth):
    """Two images through each backbone, in 480 x 480 only as many tokens as a patch of 60 leaves: 8 x 8."""
    for row in {row.backbone: row for row in rows_of(prefix)}.values():
        cfg = load(row.path)
        backbone = dict(cfg.model.backbone, patch_size=60, img_size=480)
        arch = dict(embed_dims=24, num_heads=3, num_layers=2)
        backbone['arch'] = {**arch, 'feedforward_channels': 48} if 'mmpretrain' in backbone['type'] else arch
        init_default_scope(cfg.default_scope)
        found = MODELS.build({**cfg.model, 'backbone': backbone, depth: 1})(torch.randn(2, 3, 480, 480), mode='tensor')
        if depth == 'layer':
            assert found.shape == (2, 3, 8, 8) and found[:, 0].any()
        else:
            assert {layer: batch.shape for layer, batch in found.items()} == {1: (2, 3, 8, 8)}


@every_recipe
def test_colours_are_those_of_the_training(row):
    """Images come as BGR from the file; both models see RGB, with one mean and deviation."""
    colours = load(row.path).model.data_preprocessor
    # DINOv2 was trained elsewhere, with the normalisation of ImageNet
    trained = load(TRAINED.get(row.backbone, TRAINED['vit-small-p8']).path).data_preprocessor
    assert (colours.mean, colours.std) == (trained.mean, trained.std)
    assert colours.bgr_to_rgb is trained.to_rgb is True


@every_recipe
def test_images_are_resized_as_pil_does(row, tmp_path):
    """Bit for bit, whatever the shape of the image; its own size is what results come back to, and annotations keep."""
    cfg = load(row.path)
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 255, (53, 71, 3), dtype=np.uint8)
    labels = generator.integers(0, 9, (53, 71), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'image.png')
    Image.fromarray(labels).save(tmp_path / 'labels.png')
    init_default_scope(cfg.default_scope)
    sample = dict(img_path=str(tmp_path / 'image.png'), seg_map_path=str(tmp_path / 'labels.png'), img_id=5)
    sample.update(height=53, width=71, seg_fields=[], label_map=None, reduce_zero_label=False)
    packed = Compose(cfg.test_dataloader.dataset.pipeline)(sample)
    size = row.recipe.size or (480, 480)
    expected = np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.LANCZOS))
    assert (packed['inputs'].permute(1, 2, 0).flip(-1).numpy() == expected).all()
    meta = packed['data_samples']
    assert (meta.ori_shape, meta.img_shape) == ((53, 71), size)
    assert meta.img_path == str(tmp_path / 'image.png')
    if row.recipe.prefix.startswith('maskcut'):
        assert meta.img_id == 5
    else:
        assert (meta.gt_sem_seg.data.numpy() == labels).all()
