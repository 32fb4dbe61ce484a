# The ViT of the size of crate-w128d6-p8.py, built from CRATE's parts (mmpretrain's VisionTransformer).
# Weights: the last checkpoint of configs/classification/vit-w128d6-p8_1xb128-coslr-8e_tinyimagenet100-64px.py.
width = 128
__arch__ = dict(embed_dims=128, num_heads=4, num_layers=6)
__parts__ = dict(attn_cfg=dict(type='MHSA'), ffn_cfg=dict(type='MLP'), patch_embed='conv', norm_eps=1e-6)
backbone = dict(type='CRATE', arch=__arch__, **__parts__, init='alpha', img_size=64, patch_size=8)
