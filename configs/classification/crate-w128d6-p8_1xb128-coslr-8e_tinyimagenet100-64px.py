# A small CRATE (width 128, 6 layers) on the 100-class Tiny-ImageNet: real photographs on a machine without a GPU.
# Measured here, seed 0, one CPU thread beside other work: top-1 24.2%.
_base_ = ['../_base_/backbones/crate-w128d6-p8.py', '../_base_/recipes/tinyimagenet100_8e.py']

model = dict(backbone=_base_.backbone, head=dict(in_channels=_base_.width))
