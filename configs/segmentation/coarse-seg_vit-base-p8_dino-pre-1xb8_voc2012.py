# Coarse segmentation by the attention of a ViT-B/8 trained by DINO on VOC 2012 val (arXiv 2308.16271, Figure 4b).
# Protocol and options are those of coarse-seg_crate-emergence-small-p8_1xb8_voc2012.py; what follows is the difference.
#   python tools/test.py configs/segmentation/coarse-seg_vit-base-p8_dino-pre-1xb8_voc2012.py CHECKPOINT
# Published (Figure 4b): mIoU 27.3. Not run here.
# CHECKPOINT: the weights released with arXiv 2104.14294, converted:
#   python tools/model_converters/crate_to_mm.py dino_vitbase8_pretrain.pth CHECKPOINT
_base_ = './coarse-seg_crate-emergence-small-p8_1xb8_voc2012.py'

model = dict(
    backbone=dict(_delete_=True, type='mmpretrain.VisionTransformer', arch='deit-base', img_size=224, patch_size=8)
)
