# CRATE-MLP of Table 2 (arXiv 2308.16271): crate-w192d6-p8.py with the MLP of a ViT in place of ISTA.
width = 192
__arch__ = dict(embed_dims=192, num_heads=3, num_layers=6)
backbone = dict(type='CRATE', arch=__arch__, ffn_cfg=dict(type='MLP'), img_size=64, patch_size=8)
