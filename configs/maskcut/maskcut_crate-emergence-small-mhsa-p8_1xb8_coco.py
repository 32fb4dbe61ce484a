# MaskCut with the keys of CRATE-MHSA, S/8, on COCO val2017 (arXiv 2308.16271, Table 2).
# Published (Table 2): box AP50 0.1, AP75 0.1, AP 0.0. Not run here.
_base_ = ['../_base_/backbones/crate-emergence-small-mhsa-p8.py', '../_base_/recipes/maskcut_coco.py']

model = dict(backbone=_base_.backbone)
