# CRATE-MHSA, S/8: the ViT's attention in place of MSSA (arXiv 2308.16271, Table 2).
# Weights: the last checkpoint of configs/classification/crate-emergence-small-mhsa-p8_8xb512-coslr-90e_in21k.py.
width = 384
backbone = dict(type='CRATE', arch='emergence-small', attn_cfg=dict(type='MHSA'), img_size=224, patch_size=8)
