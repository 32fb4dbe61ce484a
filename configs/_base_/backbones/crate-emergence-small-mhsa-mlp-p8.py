# Attention and MLP of the ViT, S/8, with the embedding and initialisation of CRATE: the last step of the ablation of
# arXiv 2308.16271, Table 2. The ViT with its own embedding and initialisation: vit-small-p8.py.
# Weights: the last checkpoint of configs/classification/crate-emergence-small-mhsa-mlp-p8_16xb256-coslr-90e_in21k.py.
width = 384
__parts__ = dict(attn_cfg=dict(type='MHSA'), ffn_cfg=dict(type='MLP'))
backbone = dict(type='CRATE', arch='emergence-small', **__parts__, img_size=224, patch_size=8)
