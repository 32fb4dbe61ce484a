# Coarse segmentation by the attention of CRATE-MHSA, S/8, on VOC 2012 val (arXiv 2308.16271, Table 2).
# Published (Table 2): mIoU 18.4. Not run here.
_base_ = ['../_base_/backbones/crate-emergence-small-mhsa-p8.py', '../_base_/recipes/coarse-seg_voc2012.py']

model = dict(backbone=_base_.backbone)
