# MaskCut with the features of CRATE-S/8 on COCO val2017 (arXiv 2308.16271, Tables 1 and 2).
# Published (Table 1): box AP50 2.9, AP75 1.0, AP 1.1; mask AP50 1.8, AP75 0.7, AP 0.8. Not run here.
# Published (Table 2), of the same model: box AP50 2.1, AP75 0.7, AP 0.8; the paper does not explain the difference.
_base_ = ['../_base_/backbones/crate-emergence-small-p8.py', '../_base_/recipes/maskcut_coco.py']

model = dict(backbone=_base_.backbone)
