# CRATE of the paper's small width (384) with 6 layers, for images of 64 x 64.
width = 384
backbone = dict(type='CRATE', arch=dict(embed_dims=384, num_heads=6, num_layers=6), img_size=64, patch_size=4)
