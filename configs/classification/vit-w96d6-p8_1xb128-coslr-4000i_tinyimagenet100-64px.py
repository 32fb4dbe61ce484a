# The ViT with as many parameters as CRATE of width 192: width 96, 6 layers, patches of 8; 100-class Tiny-ImageNet.
# Measured here: docs/experiments/evidence.md.
_base_ = ['../_base_/backbones/vit-w96d6-p8.py', '../_base_/recipes/tinyimagenet100_4000i-vit.py']

model = dict(backbone=_base_.backbone, head=dict(in_channels=_base_.width))
