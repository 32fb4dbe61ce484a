# Cascade Mask R-CNN with CRATE-Base/16 (arXiv 2306.01129), on MaskCut's masks of ImageNet-1k. Not run here.
# The released CRATE-Base learnt the labels of ImageNet-1k, so this detector is not free of labels. Weights that learnt
# without labels: --cfg-options model.backbone.init_cfg.checkpoint=..., see docs/self-supervised.md.
_base_ = ['../_base_/backbones/crate-base-p16.py', '../_base_/recipes/cascade-mask-rcnn_cutler-vit.py']

model = dict(backbone=_base_.pretrained, neck=dict(in_channels=_base_.width, in_stride=_base_.backbone.patch_size))
