# CRATE, width 192, 6 layers, patches of 8, on the 100-class Tiny-ImageNet. Measured here: docs/experiments/evidence.md.
_base_ = ['../_base_/backbones/crate-w192d6-p8.py', '../_base_/recipes/tinyimagenet100_4000i.py']

model = dict(backbone=_base_.backbone, head=dict(in_channels=_base_.width))
