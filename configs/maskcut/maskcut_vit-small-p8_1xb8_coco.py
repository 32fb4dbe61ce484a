# MaskCut with the keys of a supervised ViT-S/8 on COCO val2017 (arXiv 2308.16271, Tables 1 and 2).
# Published (Table 1): box AP50 0.1, AP75 0.1, AP 0.0; mask AP50 0.0, AP75 0.0, AP 0.0. Not run here.
# Published (Table 2): box AP50 0.1, AP75 0.1, AP 0.0.
_base_ = ['../_base_/backbones/vit-small-p8.py', '../_base_/recipes/maskcut_coco.py']

model = dict(backbone=_base_.backbone)
