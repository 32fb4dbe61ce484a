# ViT-B/8, the baseline of CRATE-B/8. mmpretrain calls this size (width 768, 12 layers, with biases) deit-base.
# Weights: the last checkpoint of configs/classification/vit-base-p8_32xb128-coslr-90e_in21k.py.
# Weights of DINO (arXiv 2104.14294), converted:
#   python tools/model_converters/crate_to_mm.py dino_vitbase8_pretrain.pth CHECKPOINT
width = 768
backbone = dict(type='mmpretrain.VisionTransformer', arch='deit-base', img_size=224, patch_size=8)
