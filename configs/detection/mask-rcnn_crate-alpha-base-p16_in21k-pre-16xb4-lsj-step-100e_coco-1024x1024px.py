# Mask R-CNN with CRATE-alpha-B/16 (arXiv 2405.20299) on COCO as in ViTDet, 100 epochs. Not run here.
_base_ = ['../_base_/backbones/crate-alpha-base-p16.py', '../_base_/recipes/mask-rcnn_lsj-100e.py']

model = dict(backbone=_base_.pretrained, neck=dict(in_channels=_base_.width, in_stride=_base_.backbone.patch_size))
