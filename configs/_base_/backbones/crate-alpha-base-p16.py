# CRATE-alpha-B/16 of arXiv 2405.20299.
# Weights: the last checkpoint of configs/classification/crate-alpha-base-p16_16xb256-mixup-coslr-91e_in21k.py.
width = 768
backbone = dict(type='CRATE', arch='alpha-base', img_size=224, patch_size=16)
__init_cfg__ = dict(type='Pretrained', checkpoint='checkpoints/crate-alpha-base-p16_in21k.pth', prefix='backbone.')
pretrained = dict(backbone, init_cfg=__init_cfg__)
