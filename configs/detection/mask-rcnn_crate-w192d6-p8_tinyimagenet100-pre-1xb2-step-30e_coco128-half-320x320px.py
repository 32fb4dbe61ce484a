# Mask R-CNN on half of 128 images of COCO, with the small CRATE of docs/experiments/evidence.md. Not run here.
_base_ = ['../_base_/backbones/crate-w192d6-p8.py', '../_base_/recipes/mask-rcnn_coco128-half.py']

model = dict(
    backbone=dict(_base_.pretrained, window_size=8, global_attn_indexes=(5,)),
    neck=dict(in_channels=_base_.width, in_stride=_base_.backbone.patch_size),
)
