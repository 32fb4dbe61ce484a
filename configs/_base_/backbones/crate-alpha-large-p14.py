# CRATE-alpha-L/14 of arXiv 2405.20299.
# Weights: the last checkpoint of configs/classification/crate-alpha-large-p14_32xb128-mixup-coslr-91e_in21k.py.
width = 1024
backbone = dict(type='CRATE', arch='alpha-large', img_size=224, patch_size=14)
__init_cfg__ = dict(type='Pretrained', checkpoint='checkpoints/crate-alpha-large-p14_in21k.pth', prefix='backbone.')
pretrained = dict(backbone, init_cfg=__init_cfg__)
