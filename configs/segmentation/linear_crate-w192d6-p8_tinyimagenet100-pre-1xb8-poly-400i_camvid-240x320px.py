# Linear probe of the small CRATE of docs/experiments/evidence.md on CamVid.
# Measured here, seed 0: mIoU 25.15 on the images for validation, 23.53 on those for testing. One seed.
_base_ = ['../_base_/backbones/crate-w192d6-p8.py', '../_base_/recipes/linear-seg_camvid.py']

__head__ = dict(in_channels=_base_.width, channels=_base_.width)
model = dict(
    backbone=dict(_base_.pretrained, frozen_stages=6), neck=dict(in_channels=_base_.width), decode_head=__head__
)
