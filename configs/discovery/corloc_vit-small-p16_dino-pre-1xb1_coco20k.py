# One object per image of COCO20k, its boxes: the keys of DINO's ViT-S/16 (TokenCut, arXiv 2202.11539).
# Published: CorLoc 58.8. Not run here.
_base_ = ['../_base_/backbones/vit-small-p16.py', '../_base_/recipes/corloc_coco20k.py']

model = dict(backbone=_base_.backbone)
