# Coarse segmentation by the attention of CRATE-B/8 on VOC 2012 val (arXiv 2308.16271, Figure 4b).
# Published (Figure 4b): mIoU 23.6. Not run here.
_base_ = ['../_base_/backbones/crate-emergence-base-p8.py', '../_base_/recipes/coarse-seg_voc2012.py']

model = dict(backbone=_base_.backbone)
