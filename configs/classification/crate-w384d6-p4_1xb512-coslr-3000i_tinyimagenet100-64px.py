# CRATE, width 384, 6 layers, on the 100-class Tiny-ImageNet. Not run here.
_base_ = ['../_base_/backbones/crate-w384d6-p4.py', '../_base_/recipes/tinyimagenet100_3000i.py']

model = dict(backbone=_base_.backbone, head=dict(in_channels=_base_.width))
