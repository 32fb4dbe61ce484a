# Linear probe of CRATE-S/8 (arXiv 2308.16271) on VOC 2012 + aug. Not run here.
_base_ = ['../_base_/backbones/crate-emergence-small-p8.py', '../_base_/recipes/linear-seg_voc2012aug.py']

__head__ = dict(in_channels=_base_.width, channels=_base_.width)
model = dict(backbone=_base_.pretrained, neck=dict(in_channels=_base_.width), decode_head=__head__)
