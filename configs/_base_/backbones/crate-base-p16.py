# CRATE-Base/16 of arXiv 2306.01129.
# Weights: the last checkpoint of configs/classification/crate-base-p16_8xb64-coslr-200e_in1k.py, or the released ones:
#   python tools/model_converters/crate_to_mm.py SRC checkpoints/crate-base-p16_in1k.pth --arch base
width = 768
backbone = dict(type='CRATE', arch='base', img_size=224, patch_size=16)
__init_cfg__ = dict(type='Pretrained', checkpoint='checkpoints/crate-base-p16_in1k.pth', prefix='backbone.')
pretrained = dict(backbone, init_cfg=__init_cfg__)
