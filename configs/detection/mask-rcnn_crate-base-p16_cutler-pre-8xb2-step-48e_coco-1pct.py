# Mask R-CNN with CRATE-Base/16 that learnt without labels of COCO, fine-tuned on 1% of COCO. Not run here.
_base_ = ['../_base_/backbones/crate-base-p16.py', '../_base_/recipes/mask-rcnn_semi-vit.py']

model = dict(backbone=_base_.backbone, neck=dict(in_channels=_base_.width, in_stride=_base_.backbone.patch_size))
