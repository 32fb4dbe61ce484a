# UPerNet on ViT-B/16, the baseline of CRATE-Base/16, fine-tuned on ADE20K. Not run here.
_base_ = ['../_base_/backbones/vit-base-p16.py', '../_base_/recipes/upernet_ade20k.py']

model = dict(backbone=_base_.pretrained)
