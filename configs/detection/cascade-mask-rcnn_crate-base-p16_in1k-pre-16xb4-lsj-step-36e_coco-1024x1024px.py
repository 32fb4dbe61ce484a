# Cascade Mask R-CNN with CRATE-Base/16 (arXiv 2306.01129) on COCO as in ViTDet, 36 epochs. Not run here.
_base_ = ['../_base_/backbones/crate-base-p16.py', '../_base_/recipes/cascade-mask-rcnn_lsj-36e.py']

model = dict(backbone=_base_.pretrained, neck=dict(in_channels=_base_.width, in_stride=_base_.backbone.patch_size))
