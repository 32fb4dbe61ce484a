# Coarse segmentation by the attention of a ViT-S/8 trained by DINO on VOC 2012 val (arXiv 2308.16271, Figure 4b).
# Published (Figure 4b): mIoU 27.0. Not run here.
# CHECKPOINT: the weights released with arXiv 2104.14294, converted:
#   python tools/model_converters/crate_to_mm.py dino_deitsmall8_pretrain.pth CHECKPOINT
_base_ = ['../_base_/backbones/vit-small-p8.py', '../_base_/recipes/coarse-seg_voc2012.py']

model = dict(backbone=_base_.backbone)
