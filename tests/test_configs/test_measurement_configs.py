"""configs/maskcut and coarse segmentation measure what was trained elsewhere: weights, colours and images must fit."""

import numpy as np
import pytest
from config_tree import (
    CLASSIFICATION,
    COARSE_SEGMENTATION,
    COARSE_SEGMENTATION_NAME,
    MASKCUT,
    MASKCUT_NAME,
    Name,
    build_without_memory,
    header,
    load,
    parse,
)
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from PIL import Image

every_config = pytest.mark.parametrize('path', [*MASKCUT, *COARSE_SEGMENTATION], ids=lambda path: path.stem)


def name_of(path):
    return parse(MASKCUT_NAME if path in MASKCUT else COARSE_SEGMENTATION_NAME, path)


def trained_by(path):
    """The config that trains the backbone from nothing."""
    wanted = name_of(path)['backbone'], name_of(path)['patch'], None
    named = {path: Name.of(path) for path in CLASSIFICATION}
    (found,) = (key for key, one in named.items() if (one.backbone, one.patch, one.pretraining) == wanted)
    return found


@every_config
def test_backbone_is_the_one_that_is_trained(path):
    """The same settings, so the same weights fit, and mean the same."""
    cfg, source = load(path), load(trained_by(path))
    backbone = dict(cfg.model.backbone, type=cfg.model.backbone.type.removeprefix('mmpretrain.'))
    assert backbone == source.model.backbone
    shapes = {key: value.shape for key, value in build_without_memory(cfg).state_dict().items()}
    trained = {key: value.shape for key, value in build_without_memory(source).state_dict().items()}
    assert shapes == {key: shape for key, shape in trained.items() if key.startswith('backbone.')}
    if name_of(path)['pretraining'] is None:
        assert f'configs/classification/{trained_by(path).name}' in header(path)


@every_config
def test_colours_are_those_of_the_training(path):
    """Images come as BGR from the file; both models see RGB, with one mean and deviation."""
    colours, trained = load(path).model.data_preprocessor, load(trained_by(path)).data_preprocessor
    assert (colours.mean, colours.std) == (trained.mean, trained.std)
    assert colours.bgr_to_rgb is trained.to_rgb is True


@every_config
def test_images_are_resized_as_pil_does(path, tmp_path):
    """Bit for bit, whatever the shape of the image; its own size is what results come back to, and annotations keep."""
    name, cfg = name_of(path), load(path)
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 255, (53, 71, 3), dtype=np.uint8)
    labels = generator.integers(0, 9, (53, 71), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'image.png')
    Image.fromarray(labels).save(tmp_path / 'labels.png')
    init_default_scope(cfg.default_scope)
    sample = dict(img_path=str(tmp_path / 'image.png'), seg_map_path=str(tmp_path / 'labels.png'), img_id=5)
    sample.update(height=53, width=71, seg_fields=[], label_map=None, reduce_zero_label=False)
    packed = Compose(cfg.test_dataloader.dataset.pipeline)(sample)
    size = name['height'] or 480, name['width'] or 480
    expected = np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.LANCZOS))
    assert (packed['inputs'].permute(1, 2, 0).flip(-1).numpy() == expected).all()
    meta = packed['data_samples']
    assert (meta.ori_shape, meta.img_shape) == ((53, 71), size)
    assert meta.img_path == str(tmp_path / 'image.png')
    if path in MASKCUT:
        assert meta.img_id == 5
    else:
        assert (meta.gt_sem_seg.data.numpy() == labels).all()
