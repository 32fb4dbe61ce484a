# MaskCut with the features of CRATE-MLP, S/8, on COCO val2017 (arXiv 2308.16271, Table 2).
# Published (Table 2): box AP50 0.2, AP75 0.2, AP 0.2. Not run here.
_base_ = ['../_base_/backbones/crate-emergence-small-mlp-p8.py', '../_base_/recipes/maskcut_coco.py']

model = dict(backbone=_base_.backbone)
