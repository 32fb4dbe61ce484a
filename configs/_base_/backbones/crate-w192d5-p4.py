# CRATE of the paper's smallest width (192) with 5 layers. Positions are those of images of 32 x 32, which come first.
width = 192
backbone = dict(type='CRATE', arch=dict(embed_dims=192, num_heads=3, num_layers=5), img_size=32, patch_size=4)
