# One object per image of VOC 2012 trainval, its boxes: the keys of DINO's ViT-S/16 (TokenCut, arXiv 2202.11539).
# Published: CorLoc 72.1. Not run here.
_base_ = ['../_base_/backbones/vit-small-p16.py', '../_base_/recipes/corloc_voc2012.py']

model = dict(backbone=_base_.backbone)
