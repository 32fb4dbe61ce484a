# Mask R-CNN with ViT-B/16 of DINO (arXiv 2104.14294), on MaskCut's masks of ImageNet-1k. Not run here.
# Weights: python tools/model_converters/crate_to_mm.py dino_vitbase16_pretrain.pth checkpoints/vit-base-p16_dino.pth
_base_ = ['../_base_/backbones/vit-base-p16.py', '../_base_/recipes/mask-rcnn_cutler-vit.py']

__dino__ = dict(type='Pretrained', checkpoint='checkpoints/vit-base-p16_dino.pth', prefix='backbone.')
__neck__ = dict(in_channels=_base_.width, in_stride=_base_.backbone.patch_size)
model = dict(backbone=dict(_base_.backbone, init_cfg=__dino__), neck=__neck__)
