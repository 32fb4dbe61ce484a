# MaskCut with the keys of a supervised ViT-B/8 on COCO val2017 (arXiv 2308.16271, Table 1).
# Published (Table 1): box AP50 0.8, AP75 0.2, AP 0.4; mask AP50 0.7, AP75 0.5, AP 0.4. Not run here.
_base_ = ['../_base_/backbones/vit-base-p8.py', '../_base_/recipes/maskcut_coco.py']

model = dict(backbone=_base_.backbone)
