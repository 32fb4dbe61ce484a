# UPerNet on ViT-B/16, the baseline of CRATE-Base/16, fine-tuned on VOC 2012 + aug. Not run here.
_base_ = ['../_base_/backbones/vit-base-p16.py', '../_base_/recipes/upernet_voc2012aug.py']

model = dict(backbone=_base_.pretrained)
