# ViT-S/16, the backbone of TokenCut and LOST; mmpretrain calls this size (width 384, 12 layers) deit-small.
# Weights: those of DINO (arXiv 2104.14294), converted:
#   python tools/model_converters/crate_to_mm.py dino_deitsmall16_pretrain.pth CHECKPOINT
width = 384
backbone = dict(type='mmpretrain.VisionTransformer', arch='deit-small', img_size=224, patch_size=16)
