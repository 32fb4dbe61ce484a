# UPerNet on CRATE-alpha-B/16 (arXiv 2405.20299), fine-tuned on ADE20K. Not run here.
_base_ = ['../_base_/backbones/crate-alpha-base-p16.py', '../_base_/recipes/upernet_ade20k.py']

model = dict(backbone=_base_.pretrained)
