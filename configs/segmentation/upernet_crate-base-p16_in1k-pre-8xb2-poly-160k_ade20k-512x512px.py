# UPerNet on CRATE-Base/16 (arXiv 2306.01129), fine-tuned on ADE20K. Not run here.
_base_ = ['../_base_/backbones/crate-base-p16.py', '../_base_/recipes/upernet_ade20k.py']

model = dict(backbone=_base_.pretrained)
