# The ViT of the width and depth of crate-w192d6-p8.py, built from CRATE's parts (mmpretrain's VisionTransformer).
# Weights, in this repository, are the last checkpoint of
# configs/classification/vit-w192d6-p8_1xb128-coslr-4000i_tinyimagenet100-64px.py.
width = 192
__arch__ = dict(embed_dims=192, num_heads=3, num_layers=6)
__parts__ = dict(attn_cfg=dict(type='MHSA'), ffn_cfg=dict(type='MLP'), patch_embed='conv', norm_eps=1e-6)
backbone = dict(type='CRATE', arch=__arch__, **__parts__, init='alpha', img_size=64, patch_size=8)
__weights__ = 'docs/experiments/weights/vit-w192d6-p8_tinyimagenet100.safetensors'
__init_cfg__ = dict(type='Pretrained', checkpoint=__weights__, prefix='backbone.')
pretrained = dict(backbone, init_cfg=__init_cfg__)
