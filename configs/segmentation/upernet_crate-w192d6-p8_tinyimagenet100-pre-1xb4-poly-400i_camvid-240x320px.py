# UPerNet on CamVid with the small CRATE of docs/experiments/evidence.md. Not run here.
_base_ = ['../_base_/backbones/crate-w192d6-p8.py', '../_base_/recipes/upernet_camvid.py']

model = dict(backbone=_base_.pretrained, neck=dict(in_channels=4 * [_base_.width], scales=[2, 1, 0.5, 0.25]))
