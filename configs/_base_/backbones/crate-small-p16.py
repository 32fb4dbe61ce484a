# CRATE-Small/16 of arXiv 2306.01129.
width = 576
backbone = dict(type='CRATE', arch='small', img_size=224, patch_size=16)
