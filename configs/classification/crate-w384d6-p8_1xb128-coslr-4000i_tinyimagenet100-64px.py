# CRATE with as many parameters as the ViT of width 192: width 384, 6 layers, patches of 8; 100-class Tiny-ImageNet.
# Measured here: docs/experiments/evidence.md.
_base_ = ['../_base_/backbones/crate-w384d6-p8.py', '../_base_/recipes/tinyimagenet100_4000i.py']

model = dict(backbone=_base_.backbone, head=dict(in_channels=_base_.width))
