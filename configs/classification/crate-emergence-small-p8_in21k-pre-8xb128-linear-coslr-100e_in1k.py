# Linear probe of CRATE-S/8 (arXiv 2308.16271) on ImageNet-1k. No number is published for it. Not run here.
_base_ = ['../_base_/backbones/crate-emergence-small-p8.py', '../_base_/recipes/emergence_linear_in1k.py']

model = dict(backbone=_base_.pretrained, head=dict(in_channels=_base_.width))
