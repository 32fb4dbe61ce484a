"""A small backbone, and a small classifier, detector and segmentor of the three libraries around a backbone config."""

from importlib import import_module

import torch

from projects.crate.models import CRATE

ARCH = dict(embed_dims=24, num_heads=3, num_layers=3)


def crate(**options):
    """A backbone for images 8 high and 12 wide: a 2 x 3 grid."""
    return CRATE(**{**dict(arch=ARCH, img_size=(8, 12), patch_size=4), **options})


def images(height=8, width=12, num=2):
    return torch.randn(num, 3, height, width)


def build(library, cfg):
    """Build from a library's own registry, as its Runner would."""
    return import_module(f'{library}.registry').MODELS.build(cfg)


def classifier(backbone, dim, num_classes=5):
    head = dict(type='LinearClsHead', num_classes=num_classes, in_channels=dim)
    return build('mmpretrain', dict(type='ImageClassifier', backbone=backbone, head=head))


def detector(backbone, dim):
    backbone = {**backbone, 'out_type': 'featmap'}
    neck = dict(type='ChannelMapper', in_channels=[dim], out_channels=32, num_outs=2)
    head = dict(
        type='FCOSHead',
        num_classes=2,
        in_channels=32,
        feat_channels=32,
        stacked_convs=1,
        strides=[4, 8],
        regress_ranges=((-1, 16), (16, 1e8)),
    )
    return build('mmdet', dict(type='FCOS', backbone=backbone, neck=neck, bbox_head=head))


def segmentor(backbone, dim):
    backbone = {**backbone, 'out_type': 'featmap'}
    head = dict(type='FCNHead', in_channels=dim, in_index=0, channels=8, num_convs=1, num_classes=3)
    return build(
        'mmseg',
        dict(type='EncoderDecoder', backbone=backbone, decode_head=head, train_cfg={}, test_cfg=dict(mode='whole')),
    )


BUILDERS = dict(mmpretrain=classifier, mmdet=detector, mmseg=segmentor)
