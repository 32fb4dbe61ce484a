# Mask R-CNN with ViT-B/16, the baseline of CRATE-Base/16, on COCO as in ViTDet, 36 epochs. Not run here.
_base_ = ['../_base_/backbones/vit-base-p16.py', '../_base_/recipes/mask-rcnn_lsj-36e.py']

model = dict(backbone=_base_.pretrained, neck=dict(in_channels=_base_.width, in_stride=_base_.backbone.patch_size))
