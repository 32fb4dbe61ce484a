# CRATE-T/8 of arXiv 2308.16271, fine-tuned on ImageNet-1k (Table 3). Published: top-1 62.7. Not run here.
_base_ = ['../_base_/backbones/crate-emergence-tiny-p8.py', '../_base_/recipes/emergence_finetune_in1k.py']

model = dict(backbone=_base_.pretrained, head=dict(in_channels=_base_.width))
