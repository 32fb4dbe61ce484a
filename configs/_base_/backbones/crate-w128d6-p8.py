# A small CRATE for images of 64 x 64: 8 x 8 positions, which larger images interpolate.
# Weights: the last checkpoint of configs/classification/crate-w128d6-p8_1xb128-coslr-8e_tinyimagenet100-64px.py.
width = 128
backbone = dict(type='CRATE', arch=dict(embed_dims=128, num_heads=4, num_layers=6), img_size=64, patch_size=8)
__init_cfg__ = dict(type='Pretrained', checkpoint='checkpoints/crate-w128d6-p8_tinyimagenet100.pth', prefix='backbone.')
pretrained = dict(backbone, init_cfg=__init_cfg__)
