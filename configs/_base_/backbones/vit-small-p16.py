# ViT-S/16, the backbone of TokenCut and LOST; mmpretrain calls this size (width 384, 12 layers) deit-small.
# Weights: those of DINO, which the configs of object discovery are given as CHECKPOINT.
width = 384
backbone = dict(type='mmpretrain.VisionTransformer', arch='deit-small', img_size=224, patch_size=16)
