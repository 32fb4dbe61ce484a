# The ViT of the size of crate-w128d5-p4.py, built from CRATE's parts (mmpretrain's VisionTransformer).
width = 128
__arch__ = dict(embed_dims=128, num_heads=4, num_layers=5)
__parts__ = dict(attn_cfg=dict(type='MHSA'), ffn_cfg=dict(type='MLP'), patch_embed='conv', norm_eps=1e-6)
backbone = dict(type='CRATE', arch=__arch__, **__parts__, init='alpha', img_size=48, patch_size=4)
