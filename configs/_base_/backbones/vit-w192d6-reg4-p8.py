# vit-w192d6-p8.py with four registers (arXiv 2309.16588): tokens for what patches of the background would hold.
width = 192
__arch__ = dict(embed_dims=192, num_heads=3, num_layers=6)
__parts__ = dict(attn_cfg=dict(type='MHSA'), ffn_cfg=dict(type='MLP'), patch_embed='conv', norm_eps=1e-6)
backbone = dict(type='CRATE', arch=__arch__, **__parts__, num_registers=4, init='alpha', img_size=64, patch_size=8)
