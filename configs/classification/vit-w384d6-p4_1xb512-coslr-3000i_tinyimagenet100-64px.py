# The ViT, built from the backbone's own parts (the network is mmpretrain's VisionTransformer). Sizes, data and recipe
# are those of crate-w384d6-p4_1xb512-coslr-3000i_tinyimagenet100-64px.py, where they are explained.
#   CRATE_DATA=/datasets python tools/train.py \
#       configs/classification/vit-w384d6-p4_1xb512-coslr-3000i_tinyimagenet100-64px.py
# Not run here.
_base_ = './crate-w384d6-p4_1xb512-coslr-3000i_tinyimagenet100-64px.py'

model = dict(
    backbone=dict(attn_cfg=dict(type='MHSA'), ffn_cfg=dict(type='MLP'), patch_embed='conv', norm_eps=1e-6, init='alpha')
)
