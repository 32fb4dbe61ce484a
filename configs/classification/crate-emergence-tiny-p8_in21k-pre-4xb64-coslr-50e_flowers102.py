# CRATE-T/8 of arXiv 2308.16271, fine-tuned on Oxford Flowers-102 (Table 3). Published: top-1 82.2. Not run here.
_base_ = ['../_base_/backbones/crate-emergence-tiny-p8.py', '../_base_/recipes/emergence_finetune_flowers102.py']

model = dict(backbone=_base_.pretrained, head=dict(in_channels=_base_.width))
