# MaskCut with the values of DINOv2's ViT-S/14 on 128 photographs of COCO train2017.
_base_ = ['../_base_/backbones/vit-small-p14.py', '../_base_/recipes/maskcut_coco128-518px.py']

model = dict(backbone=_base_.backbone)
