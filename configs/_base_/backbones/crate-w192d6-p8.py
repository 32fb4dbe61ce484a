# CRATE of the paper's smallest width (192) with 6 layers and patches of 8, for images of 64 x 64 (64 tokens).
# Three heads, as in all models that docs/experiments/evidence.md compares: the best head is one of three.
# Weights, in this repository, are the last checkpoint of
# configs/classification/crate-w192d6-p8_1xb128-coslr-4000i_tinyimagenet100-64px.py.
width = 192
backbone = dict(type='CRATE', arch=dict(embed_dims=192, num_heads=3, num_layers=6), img_size=64, patch_size=8)
__weights__ = 'docs/experiments/weights/crate-w192d6-p8_tinyimagenet100.safetensors'
__init_cfg__ = dict(type='Pretrained', checkpoint=__weights__, prefix='backbone.')
pretrained = dict(backbone, init_cfg=__init_cfg__)
