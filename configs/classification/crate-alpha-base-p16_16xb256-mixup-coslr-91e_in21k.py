# CRATE-alpha-B/16 of arXiv 2405.20299, pre-trained on ImageNet-21k. Not run here.
_base_ = ['../_base_/backbones/crate-alpha-base-p16.py', '../_base_/recipes/alpha_91e_in21k.py']

model = dict(backbone=_base_.backbone, head=dict(in_channels=_base_.width))
