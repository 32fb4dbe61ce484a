# crate-w192d6-p8.py at twice the width: as many parameters as the ViT vit-w192d6-p8.py. Also three heads.
width = 384
backbone = dict(type='CRATE', arch=dict(embed_dims=384, num_heads=3, num_layers=6), img_size=64, patch_size=8)
