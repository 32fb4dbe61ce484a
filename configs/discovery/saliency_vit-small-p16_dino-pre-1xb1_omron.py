# One object per image of DUT-OMRON, its masks: the keys of DINO's ViT-S/16 (TokenCut, arXiv 2202.11539).
# Published: IoU 53.3 (61.8 with the bilateral solver: model.bilateral=True). Not run here.
_base_ = ['../_base_/backbones/vit-small-p16.py', '../_base_/recipes/saliency_omron.py']

model = dict(backbone=_base_.backbone)
