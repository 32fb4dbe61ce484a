# MaskCut with the keys of a ViT-B/8 trained by DINO on COCO val2017 (arXiv 2308.16271, Table 1).
# Published (Table 1): box AP50 5.1, AP75 2.3, AP 2.5; mask AP50 4.1, AP75 1.3, AP 1.8. Not run here.
_base_ = ['../_base_/backbones/vit-base-p8.py', '../_base_/recipes/maskcut_coco.py']

model = dict(backbone=_base_.backbone)
