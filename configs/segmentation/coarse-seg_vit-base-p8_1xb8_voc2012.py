# Coarse segmentation by the attention of a supervised ViT-B/8 on VOC 2012 val (arXiv 2308.16271, Figure 4b).
# Protocol and options are those of coarse-seg_crate-emergence-small-p8_1xb8_voc2012.py; what follows is the difference.
#   python tools/test.py configs/segmentation/coarse-seg_vit-base-p8_1xb8_voc2012.py CHECKPOINT
# Published (Figure 4b): mIoU 19.2. Not run here.
# CHECKPOINT: of configs/classification/vit-base-p8_32xb128-coslr-90e_in21k.py
_base_ = './coarse-seg_crate-emergence-small-p8_1xb8_voc2012.py'

model = dict(
    backbone=dict(_delete_=True, type='mmpretrain.VisionTransformer', arch='deit-base', img_size=224, patch_size=8)
)
