# Coarse segmentation by the attention of both parts of the ViT's layer in CRATE's embedding, S/8, on VOC 2012 val
# (arXiv 2308.16271, Table 2). Published (Table 2), for the ViT of that table: mIoU 14.1. Not run here.
_base_ = ['../_base_/backbones/crate-emergence-small-mhsa-mlp-p8.py', '../_base_/recipes/coarse-seg_voc2012.py']

model = dict(backbone=_base_.backbone)
