# mmdet's DINO with CRATE-S/8 (arXiv 2308.16271) on COCO, 12 epochs. Not run here.
_base_ = ['../_base_/backbones/crate-emergence-small-p8.py', '../_base_/recipes/dino_12e.py']

model = dict(backbone=_base_.pretrained, neck=dict(in_channels=_base_.width, in_stride=_base_.backbone.patch_size))
