# Linear probe of CRATE-alpha-B/16 (arXiv 2405.20299) on VOC 2012 + aug. Not run here.
_base_ = ['../_base_/backbones/crate-alpha-base-p16.py', '../_base_/recipes/linear-seg_voc2012aug.py']

__head__ = dict(in_channels=_base_.width, channels=_base_.width)
model = dict(backbone=_base_.pretrained, neck=dict(in_channels=_base_.width), decode_head=__head__)
