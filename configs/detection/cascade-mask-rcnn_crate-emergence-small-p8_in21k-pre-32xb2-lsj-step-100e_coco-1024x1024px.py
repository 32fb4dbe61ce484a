# Cascade Mask R-CNN with CRATE-S/8 (arXiv 2308.16271) on COCO as in ViTDet, 100 epochs. Not run here.
_base_ = ['../_base_/backbones/crate-emergence-small-p8.py', '../_base_/recipes/cascade-mask-rcnn_lsj-100e.py']

model = dict(backbone=_base_.pretrained, neck=dict(in_channels=_base_.width, in_stride=_base_.backbone.patch_size))
train_dataloader = dict(batch_size=2)
