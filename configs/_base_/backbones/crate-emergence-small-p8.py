# CRATE-S/8 of arXiv 2308.16271. Weights: the last checkpoint of
# configs/classification/crate-emergence-small-p8_8xb512-coslr-90e_in21k.py, or the released ones:
#   python tools/model_converters/crate_to_mm.py SRC checkpoints/crate-emergence-small-p8_in21k.pth \
#       --arch emergence-small
width = 384
backbone = dict(type='CRATE', arch='emergence-small', img_size=224, patch_size=8)
__init_cfg__ = dict(type='Pretrained', checkpoint='checkpoints/crate-emergence-small-p8_in21k.pth', prefix='backbone.')
pretrained = dict(backbone, init_cfg=__init_cfg__)
