# CRATE-S/8 of arXiv 2308.16271, fine-tuned on CIFAR-10 (Table 3). Published: top-1 97.2. Not run here.
_base_ = ['../_base_/backbones/crate-emergence-small-p8.py', '../_base_/recipes/emergence_finetune_cifar10.py']

model = dict(backbone=_base_.pretrained, head=dict(in_channels=_base_.width))
