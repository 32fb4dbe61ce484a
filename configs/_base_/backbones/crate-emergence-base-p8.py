# CRATE-B/8 of arXiv 2308.16271. Weights: the last checkpoint of
# configs/classification/crate-emergence-base-p8_16xb256-coslr-90e_in21k.py, or the released ones:
#   python tools/model_converters/crate_to_mm.py SRC checkpoints/crate-emergence-base-p8_in21k.pth --arch emergence-base
# The released "demo" weights have 6 heads, not 12: arch=dict(embed_dims=768, num_heads=6, num_layers=12).
width = 768
backbone = dict(type='CRATE', arch='emergence-base', img_size=224, patch_size=8)
__init_cfg__ = dict(type='Pretrained', checkpoint='checkpoints/crate-emergence-base-p8_in21k.pth', prefix='backbone.')
pretrained = dict(backbone, init_cfg=__init_cfg__)
