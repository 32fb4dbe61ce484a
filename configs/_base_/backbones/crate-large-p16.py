# CRATE-Large/16 of arXiv 2306.01129.
width = 1024
backbone = dict(type='CRATE', arch='large', img_size=224, patch_size=16)
