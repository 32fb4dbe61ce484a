# CRATE-MLP, S/8: the ViT's feed-forward block in place of ISTA (arXiv 2308.16271, Table 2).
# Weights: the last checkpoint of configs/classification/crate-emergence-small-mlp-p8_16xb256-coslr-90e_in21k.py.
width = 384
backbone = dict(type='CRATE', arch='emergence-small', ffn_cfg=dict(type='MLP'), img_size=224, patch_size=8)
