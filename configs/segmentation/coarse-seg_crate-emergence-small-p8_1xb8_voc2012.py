# Coarse segmentation by the attention of CRATE-S/8 on VOC 2012 val (arXiv 2308.16271, Figure 4b, Table 2).
# Published (Figure 4b and Table 2): mIoU 23.9. Not run here.
_base_ = ['../_base_/backbones/crate-emergence-small-p8.py', '../_base_/recipes/coarse-seg_voc2012.py']

model = dict(backbone=_base_.backbone)
