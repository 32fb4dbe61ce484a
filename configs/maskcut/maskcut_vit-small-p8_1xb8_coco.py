# MaskCut with the keys of a supervised ViT-S/8 on COCO val2017 (arXiv 2308.16271, Tables 1 and 2).
# Its protocol and options are those of maskcut_crate-emergence-small-p8_1xb8_coco.py; what follows is the difference.
#   python tools/test.py configs/maskcut/maskcut_vit-small-p8_1xb8_coco.py CHECKPOINT
# Published (Table 1): box AP50 0.1, AP75 0.1, AP 0.0; mask AP50 0.0, AP75 0.0, AP 0.0. Not run here.
# Published (Table 2): box AP50 0.1, AP75 0.1, AP 0.0.
# CHECKPOINT: of configs/classification/vit-small-p8_16xb256-coslr-90e_in21k.py
_base_ = './maskcut_crate-emergence-small-p8_1xb8_coco.py'

model = dict(
    backbone=dict(_delete_=True, type='mmpretrain.VisionTransformer', arch='deit-small', img_size=224, patch_size=8)
)
