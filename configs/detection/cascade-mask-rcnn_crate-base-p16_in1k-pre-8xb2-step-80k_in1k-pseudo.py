# A round of self-training of Cascade Mask R-CNN with CRATE-Base/16 (arXiv 2306.01129), on ImageNet-1k. Not run here.
# CRATE-Base learnt the labels of ImageNet-1k: see the first training, the same name with step-160k.
_base_ = ['../_base_/backbones/crate-base-p16.py', '../_base_/recipes/cascade-mask-rcnn_cutler-vit-round.py']

model = dict(backbone=_base_.pretrained, neck=dict(in_channels=_base_.width, in_stride=_base_.backbone.patch_size))
