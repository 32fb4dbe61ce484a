"""A tiny backbone to look at, its config and its checkpoint, and images for it."""

from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from PIL import Image
from tiny_models import ARCH, build

from projects.crate.models import CRATE

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
PREPROCESSOR = dict(mean=MEAN, std=STD, to_rgb=True)
BACKBONE = dict(type='CRATE', arch=ARCH, img_size=16, patch_size=4, drop_path_rate=0.5)
VIT = dict(
    type='mmpretrain.VisionTransformer',
    arch={**ARCH, 'feedforward_channels': 48},
    img_size=16,
    patch_size=4,
    drop_path_rate=0.5,
)


def backbone(kind='CRATE'):
    """In training mode, but for one part."""
    if kind == 'CRATE':
        model = CRATE(**{key: value for key, value in BACKBONE.items() if key != 'type'})
    else:
        model = build('mmpretrain', VIT)
        model.init_weights()
    model.train()
    model.layers[0].eval()
    return model


def picture(height=18, width=25, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save_pictures(folder, number=3, size=(18, 25)):
    """``number`` images and a file that is none."""
    folder.mkdir()
    for index in range(number):
        Image.fromarray(picture(*size, seed=index)).save(folder / f'{index}.png')
    (folder / 'broken.jpg').write_bytes(b'\xff\xd8')
    return folder


def config(folder, **changes):
    """Path of the config of a classifier."""
    head = dict(type='LinearClsHead', num_classes=2, in_channels=ARCH['embed_dims'])
    cfg = dict(
        custom_imports=dict(imports=['projects.crate']),
        default_scope='mmpretrain',
        model=dict(type='ImageClassifier', backbone=BACKBONE, head=head),
        data_preprocessor=PREPROCESSOR,
    )
    path = Path(folder, 'config.py')
    Config({**cfg, **changes}).dump(path)
    return path


def checkpoint(path, model=None, **extra):
    """The weights of a classifier around the backbone."""
    weights = {f'backbone.{key}': value for key, value in (model or backbone()).state_dict().items()}
    torch.save(dict(state_dict={**weights, 'head.fc.bias': torch.zeros(2), **extra}), path)
    return path
