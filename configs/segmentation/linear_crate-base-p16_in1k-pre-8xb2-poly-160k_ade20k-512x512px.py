# Linear probe of CRATE-Base/16 (arXiv 2306.01129) on ADE20K. Not run here.
_base_ = ['../_base_/backbones/crate-base-p16.py', '../_base_/recipes/linear-seg_ade20k.py']

__head__ = dict(in_channels=_base_.width, channels=_base_.width)
model = dict(backbone=_base_.pretrained, neck=dict(in_channels=_base_.width), decode_head=__head__)
