# A small CRATE for images of 48 x 48. Initial positions are small, as in the ViT: N(0, 1), as in the released code,
# hides the content at first. Weights: the last checkpoint of
# configs/classification/crate-w128d5-p4_1xb48-coslr-400i_sample-48px.py, or of `make demo`.
width = 128
__arch__ = dict(embed_dims=128, num_heads=4, num_layers=5)
backbone = dict(type='CRATE', arch=__arch__, init='alpha', img_size=48, patch_size=4)
__init_cfg__ = dict(type='Pretrained', checkpoint='checkpoints/crate-w128d5-p4_sample.pth', prefix='backbone.')
pretrained = dict(backbone, init_cfg=__init_cfg__)
