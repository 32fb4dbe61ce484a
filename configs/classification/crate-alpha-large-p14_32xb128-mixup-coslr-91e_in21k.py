# CRATE-alpha-L/14 of arXiv 2405.20299, pre-trained on ImageNet-21k. Not run here.
_base_ = ['../_base_/backbones/crate-alpha-large-p14.py', '../_base_/recipes/alpha_91e_in21k.py']

model = dict(backbone=_base_.backbone, head=dict(in_channels=_base_.width))
train_dataloader = dict(batch_size=128)
