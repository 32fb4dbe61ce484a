# CRATE-T/8 of arXiv 2308.16271.
# Weights: the last checkpoint of configs/classification/crate-emergence-tiny-p8_8xb512-coslr-90e_in21k.py.
width = 192
backbone = dict(type='CRATE', arch='emergence-tiny', img_size=224, patch_size=8)
__init_cfg__ = dict(type='Pretrained', checkpoint='checkpoints/crate-emergence-tiny-p8_in21k.pth', prefix='backbone.')
pretrained = dict(backbone, init_cfg=__init_cfg__)
