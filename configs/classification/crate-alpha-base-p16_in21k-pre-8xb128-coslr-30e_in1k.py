# CRATE-alpha-B/16 of arXiv 2405.20299, second stage, on ImageNet-1k. Not run here.
_base_ = ['../_base_/backbones/crate-alpha-base-p16.py', '../_base_/recipes/alpha_30e_in1k.py']

model = dict(backbone=_base_.pretrained, head=dict(in_channels=_base_.width))
