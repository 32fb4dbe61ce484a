# Coarse segmentation by the attention of a supervised ViT-S/8 on VOC 2012 val (arXiv 2308.16271, Figure 4b, Table 2).
# Protocol and options are those of coarse-seg_crate-emergence-small-p8_1xb8_voc2012.py; what follows is the difference.
#   python tools/test.py configs/segmentation/coarse-seg_vit-small-p8_1xb8_voc2012.py CHECKPOINT
# Published (Figure 4b and Table 2): mIoU 14.1. Not run here.
# CHECKPOINT: of configs/classification/vit-small-p8_16xb256-coslr-90e_in21k.py
_base_ = './coarse-seg_crate-emergence-small-p8_1xb8_voc2012.py'

model = dict(
    backbone=dict(_delete_=True, type='mmpretrain.VisionTransformer', arch='deit-small', img_size=224, patch_size=8)
)
