# mmdet's DINO with ViT-S/8, the baseline of CRATE-S/8, on COCO, 12 epochs. Not run here.
_base_ = ['../_base_/backbones/vit-small-p8.py', '../_base_/recipes/dino_12e.py']

model = dict(backbone=_base_.pretrained, neck=dict(in_channels=_base_.width, in_stride=_base_.backbone.patch_size))
