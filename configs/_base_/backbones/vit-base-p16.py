# ViT-B/16, the baseline of CRATE-Base/16, built from CRATE's parts with the weight names of mmpretrain's ViT.
# Weights: mmpretrain's vit-base-p16_32xb128-mae_in1k, which learnt the labels of ImageNet-1k at 224 x 224:
#   curl --create-dirs -o checkpoints/vit-base-p16_in1k.pth \
#       https://download.openmmlab.com/mmclassification/v0/vit/vit-base-p16_pt-32xb128-mae_in1k_20220623-4c544545.pth
width = 768
__parts__ = dict(attn_cfg=dict(type='MHSA'), ffn_cfg=dict(type='MLP'), patch_embed='conv', norm_eps=1e-6)
backbone = dict(type='CRATE', arch='base', **__parts__, img_size=224, patch_size=16)
__init_cfg__ = dict(type='Pretrained', checkpoint='checkpoints/vit-base-p16_in1k.pth', prefix='backbone.')
pretrained = dict(backbone, init_cfg=__init_cfg__)
