# CRATE-Tiny/16 of arXiv 2306.01129.
width = 384
backbone = dict(type='CRATE', arch='tiny', img_size=224, patch_size=16)
