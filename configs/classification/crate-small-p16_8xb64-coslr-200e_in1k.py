# CRATE-Small of arXiv 2306.01129, supervised on ImageNet-1k. Not run here.
_base_ = ['../_base_/backbones/crate-small-p16.py', '../_base_/recipes/crate_200e_in1k.py']

model = dict(backbone=_base_.backbone, head=dict(in_channels=_base_.width))
