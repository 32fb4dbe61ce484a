# CRATE-MLP of Table 2 (arXiv 2308.16271), width 384, 6 layers, on the 100-class Tiny-ImageNet. Not run here.
_base_ = ['../_base_/backbones/crate-w384d6-mlp-p4.py', '../_base_/recipes/tinyimagenet100_3000i.py']

model = dict(backbone=_base_.backbone, head=dict(in_channels=_base_.width))
