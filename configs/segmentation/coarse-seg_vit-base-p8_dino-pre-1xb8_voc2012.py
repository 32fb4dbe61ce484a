# Coarse segmentation by the attention of a ViT-B/8 trained by DINO on VOC 2012 val (arXiv 2308.16271, Figure 4b).
# Published (Figure 4b): mIoU 27.3. Not run here.
_base_ = ['../_base_/backbones/vit-base-p8.py', '../_base_/recipes/coarse-seg_voc2012.py']

model = dict(backbone=_base_.backbone)
