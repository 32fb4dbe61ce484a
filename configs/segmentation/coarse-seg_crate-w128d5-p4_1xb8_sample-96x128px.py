# Coarse segmentation by the attention of a small CRATE on the generated sample set.
# Measured here with the checkpoint of `make demo`, seed 0: mIoU 24.6 in the last layer, 33.0 in the best, layer 2.
_base_ = ['../_base_/backbones/crate-w128d5-p4.py', '../_base_/recipes/coarse-seg_sample.py']

model = dict(backbone=_base_.backbone)
