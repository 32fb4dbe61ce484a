# CRATE-T/8 of arXiv 2308.16271, fine-tuned on CIFAR-100 (Table 3). Published: top-1 76.7. Not run here.
_base_ = ['../_base_/backbones/crate-emergence-tiny-p8.py', '../_base_/recipes/emergence_finetune_cifar100.py']

model = dict(backbone=_base_.pretrained, head=dict(in_channels=_base_.width))
