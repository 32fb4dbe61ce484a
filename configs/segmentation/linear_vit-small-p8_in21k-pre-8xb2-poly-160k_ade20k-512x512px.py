# Linear probe of ViT-S/8, the baseline of CRATE-S/8, on ADE20K. Not run here.
_base_ = ['../_base_/backbones/vit-small-p8.py', '../_base_/recipes/linear-seg_ade20k.py']

__head__ = dict(in_channels=_base_.width, channels=_base_.width)
model = dict(backbone=_base_.pretrained, neck=dict(in_channels=_base_.width), decode_head=__head__)
