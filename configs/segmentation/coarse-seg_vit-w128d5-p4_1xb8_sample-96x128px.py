# Coarse segmentation by the attention of a small ViT on the generated sample set.
# Measured here with the checkpoint of `make demo`, seed 0: mIoU 27.0 in the last layer, the best.
_base_ = ['../_base_/backbones/vit-w128d5-p4.py', '../_base_/recipes/coarse-seg_sample.py']

model = dict(backbone=_base_.backbone)
