# MaskCut with the features of CRATE-B/8 on COCO val2017 (arXiv 2308.16271, Table 1 and Figure 6).
# Published (Table 1): box AP50 2.9, AP75 1.0, AP 1.3; mask AP50 2.2, AP75 0.7, AP 1.0. Not run here.
_base_ = ['../_base_/backbones/crate-emergence-base-p8.py', '../_base_/recipes/maskcut_coco.py']

model = dict(backbone=_base_.backbone)
