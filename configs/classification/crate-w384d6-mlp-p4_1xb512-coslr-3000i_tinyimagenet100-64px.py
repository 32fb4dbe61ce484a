# CRATE-MLP of Table 2: the MLP of a ViT in place of ISTA. Sizes, data and recipe
# are those of crate-w384d6-p4_1xb512-coslr-3000i_tinyimagenet100-64px.py, where they are explained.
#   CRATE_DATA=/datasets python tools/train.py \
#       configs/classification/crate-w384d6-mlp-p4_1xb512-coslr-3000i_tinyimagenet100-64px.py
# Not run here.
_base_ = './crate-w384d6-p4_1xb512-coslr-3000i_tinyimagenet100-64px.py'

model = dict(backbone=dict(ffn_cfg=dict(type='MLP')))
