# MaskCut with both parts of the ViT's layer in CRATE's embedding, S/8, on COCO val2017 (arXiv 2308.16271, Table 2).
# Published (Table 2), for the ViT of that table: box AP50 0.1, AP75 0.1, AP 0.0. Not run here.
_base_ = ['../_base_/backbones/crate-emergence-small-mhsa-mlp-p8.py', '../_base_/recipes/maskcut_coco.py']

model = dict(backbone=_base_.backbone)
