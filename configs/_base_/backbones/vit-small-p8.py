# ViT-S/8, the baseline of CRATE-S/8. mmpretrain calls this size (width 384, 12 layers) deit-small, and 768 x 8 small.
# Weights: the last checkpoint of configs/classification/vit-small-p8_16xb256-coslr-90e_in21k.py.
# Weights of DINO (arXiv 2104.14294), converted:
#   python tools/model_converters/crate_to_mm.py dino_deitsmall8_pretrain.pth CHECKPOINT
# Detectors and segmentors need windows: they build the same network from CRATE's parts, with the same weight names.
width = 384
backbone = dict(type='mmpretrain.VisionTransformer', arch='deit-small', img_size=224, patch_size=8)
__parts__ = dict(attn_cfg=dict(type='MHSA'), ffn_cfg=dict(type='MLP'), patch_embed='conv', norm_eps=1e-6)
__init_cfg__ = dict(type='Pretrained', checkpoint='checkpoints/vit-small-p8_in21k.pth', prefix='backbone.')
pretrained = dict(type='CRATE', arch='emergence-small', **__parts__, img_size=224, patch_size=8, init_cfg=__init_cfg__)
