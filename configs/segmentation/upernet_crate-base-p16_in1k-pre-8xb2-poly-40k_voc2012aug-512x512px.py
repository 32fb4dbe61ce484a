# UPerNet on CRATE-Base/16 (arXiv 2306.01129), fine-tuned on VOC 2012 + aug. Not run here.
_base_ = ['../_base_/backbones/crate-base-p16.py', '../_base_/recipes/upernet_voc2012aug.py']

model = dict(backbone=_base_.pretrained)
