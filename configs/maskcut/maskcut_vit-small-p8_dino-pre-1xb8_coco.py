# MaskCut with the keys of a ViT-S/8 trained by DINO on COCO val2017 (arXiv 2308.16271, Table 1).
# Published (Table 1): box AP50 5.0, AP75 2.0, AP 2.4; mask AP50 4.0, AP75 1.3, AP 1.7. Not run here.
_base_ = ['../_base_/backbones/vit-small-p8.py', '../_base_/recipes/maskcut_coco.py']

model = dict(backbone=_base_.backbone)
