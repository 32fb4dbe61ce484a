# vit-w192d6-p8.py at half the width: as many parameters as crate-w192d6-p8.py. Also three heads.
width = 96
__arch__ = dict(embed_dims=96, num_heads=3, num_layers=6)
__parts__ = dict(attn_cfg=dict(type='MHSA'), ffn_cfg=dict(type='MLP'), patch_embed='conv', norm_eps=1e-6)
backbone = dict(type='CRATE', arch=__arch__, **__parts__, init='alpha', img_size=64, patch_size=8)
