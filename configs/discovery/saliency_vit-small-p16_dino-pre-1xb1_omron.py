# One object per image of DUT-OMRON, its masks: the keys of DINO's ViT-S/16 (TokenCut, arXiv 2202.11539).
# Published: IoU 53.3 (61.8 with the bilateral solver: model.bilateral=True). Not run here.
# CHECKPOINT: the weights released with arXiv 2104.14294, converted:
#   python tools/model_converters/crate_to_mm.py dino_deitsmall16_pretrain.pth CHECKPOINT
_base_ = ['../_base_/backbones/vit-small-p16.py', '../_base_/recipes/saliency_omron.py']

model = dict(backbone=_base_.backbone)
