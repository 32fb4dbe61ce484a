# MaskCut with the keys of a supervised ViT-B/8 on COCO val2017 (arXiv 2308.16271, Table 1).
# Its protocol and options are those of maskcut_crate-emergence-small-p8_1xb8_coco.py; what follows is the difference.
#   python tools/test.py configs/maskcut/maskcut_vit-base-p8_1xb8_coco.py CHECKPOINT
# Published (Table 1): box AP50 0.8, AP75 0.2, AP 0.4; mask AP50 0.7, AP75 0.5, AP 0.4. Not run here.
# CHECKPOINT: of configs/classification/vit-base-p8_32xb128-coslr-90e_in21k.py
_base_ = './maskcut_crate-emergence-small-p8_1xb8_coco.py'

model = dict(
    backbone=dict(_delete_=True, type='mmpretrain.VisionTransformer', arch='deit-base', img_size=224, patch_size=8)
)
