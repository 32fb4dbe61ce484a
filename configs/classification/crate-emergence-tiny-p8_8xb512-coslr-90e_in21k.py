# CRATE-T/8 of arXiv 2308.16271, supervised on ImageNet-21k (Appendix C.1).
# Nothing is published of these weights before fine-tuning. Not run here.
_base_ = ['../_base_/backbones/crate-emergence-tiny-p8.py', '../_base_/recipes/emergence_90e_in21k.py']

model = dict(backbone=_base_.backbone, head=dict(in_channels=_base_.width))
