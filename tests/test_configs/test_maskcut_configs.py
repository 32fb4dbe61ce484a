"""configs/maskcut: the rows of the tables of arXiv 2308.16271, names against contents, images, weights."""

import numpy as np
import pytest
import torch
from config_tree import CLASSIFICATION, MASKCUT, MASKCUT_NAME, ROOT, Name, build_without_memory, header, load, parse
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import MODELS, init_default_scope
from PIL import Image

from projects.crate.models import observe

# name up to the batch -> published, box AP50, AP75, AP, then mask
TABLE_1 = {
    'crate-emergence-small-p8': (2.9, 1.0, 1.1, 1.8, 0.7, 0.8),
    'crate-emergence-base-p8': (2.9, 1.0, 1.3, 2.2, 0.7, 1.0),
    'vit-small-p8': (0.1, 0.1, 0.0, 0.0, 0.0, 0.0),
    'vit-base-p8': (0.8, 0.2, 0.4, 0.7, 0.5, 0.4),
    'vit-small-p8_dino-pre': (5.0, 2.0, 2.4, 4.0, 1.3, 1.7),
    'vit-base-p8_dino-pre': (5.1, 2.3, 2.5, 4.1, 1.3, 1.8),
}
TABLE_2 = {
    'crate-emergence-small-p8': (2.1, 0.7, 0.8),
    'crate-emergence-small-mlp-p8': (0.2, 0.2, 0.2),
    'crate-emergence-small-mhsa-p8': (0.1, 0.1, 0.0),
    'crate-emergence-small-mhsa-mlp-p8': (0.1, 0.1, 0.0),
    'vit-small-p8': (0.1, 0.1, 0.0),
}
# name -> folder under $CRATE_DATA, split, data set of the weights
DATA = {
    'coco': ('coco', 'val2017', 'in21k'),
    'coco128': ('coco128', 'train2017', 'tinyimagenet100'),
    'sample': ('sample/coco', 'val2017', 'sample'),
}

every_config = pytest.mark.parametrize('path', MASKCUT, ids=lambda path: path.stem)


def trained_by(path):
    """The config that trains the backbone from nothing."""
    name = parse(MASKCUT_NAME, path)
    wanted = name['backbone'], name['patch'], DATA[name['data']][2], None
    named = {path: Name.of(path) for path in CLASSIFICATION}
    (found,) = (key for key, one in named.items() if (one.backbone, one.patch, one.data, one.pretraining) == wanted)
    return found


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
    assert 'Published (Table 2)' in text and f': box {numbers(TABLE_2[row])}' in text


@every_config
def test_name_says_data_batch_and_size(path):
    name, cfg = parse(MASKCUT_NAME, path), load(path)
    folder, split, _ = DATA[name['data']]
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
def test_backbone_is_the_one_that_is_trained(path):
    """The same settings, so the same weights fit, and mean the same."""
    cfg, source = load(path), load(trained_by(path))
    backbone = dict(cfg.model.backbone, type=cfg.model.backbone.type.removeprefix('mmpretrain.'))
    assert backbone == source.model.backbone
    shapes = {key: value.shape for key, value in build_without_memory(cfg).state_dict().items()}
    trained = {key: value.shape for key, value in build_without_memory(source).state_dict().items()}
    assert shapes == {key: shape for key, shape in trained.items() if key.startswith('backbone.')}
    if parse(MASKCUT_NAME, path)['pretraining'] is None:
        assert f'configs/classification/{trained_by(path).name}' in header(path)


@every_config
def test_colours_are_those_of_the_training(path):
    """Images come as BGR from the file; both models see RGB, with one mean and deviation."""
    colours, trained = load(path).model.data_preprocessor, load(trained_by(path)).data_preprocessor
    assert (colours.mean, colours.std) == (trained.mean, trained.std)
    assert colours.bgr_to_rgb is trained.to_rgb is True


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


@every_config
def test_images_are_resized_as_pil_does(path, tmp_path):
    """Bit for bit, whatever the shape of the image; its own size is what masks come back to."""
    name, cfg = parse(MASKCUT_NAME, path), load(path)
    pixels = np.random.default_rng(0).integers(0, 255, (53, 71, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'image.png')
    init_default_scope(cfg.default_scope)
    sample = dict(img_path=str(tmp_path / 'image.png'), img_id=5, height=53, width=71)
    packed = Compose(cfg.test_dataloader.dataset.pipeline)(sample)
    size = name['height'] or 480, name['width'] or 480
    expected = np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.LANCZOS))
    assert (packed['inputs'].permute(1, 2, 0).flip(-1).numpy() == expected).all()
    meta = packed['data_samples']
    assert (meta.ori_shape, meta.img_shape, meta.img_id) == ((53, 71), size, 5)
    assert meta.img_path == str(tmp_path / 'image.png')


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
