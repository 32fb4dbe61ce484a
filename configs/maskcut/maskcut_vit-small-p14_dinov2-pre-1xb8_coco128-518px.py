# MaskCut with the values of DINOv2's ViT-S/14 on 128 photographs of COCO train2017. CHECKPOINT: see `Weights` in the
# file of the backbone. Measured here with other weights of this shape (docs/maskcut.md), in percent: box AP50 5.53,
# AP75 1.74, AP 2.55; mask AP50 4.08, AP75 0.68, AP 1.36.
_base_ = ['../_base_/backbones/vit-small-p14.py', '../_base_/recipes/maskcut_coco128-518px.py']

model = dict(backbone=_base_.backbone)
