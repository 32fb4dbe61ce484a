# MaskCut with the keys of a ViT-B/8 trained by DINO on COCO val2017 (arXiv 2308.16271, Table 1).
# Its protocol and options are those of maskcut_crate-emergence-small-p8_1xb8_coco.py; what follows is the difference.
#   python tools/test.py configs/maskcut/maskcut_vit-base-p8_dino-pre-1xb8_coco.py CHECKPOINT
# Published (Table 1): box AP50 5.1, AP75 2.3, AP 2.5; mask AP50 4.1, AP75 1.3, AP 1.8. Not run here.
# CHECKPOINT: the weights released with arXiv 2104.14294, converted:
#   python tools/model_converters/crate_to_mm.py dino_vitbase8_pretrain.pth CHECKPOINT
_base_ = './maskcut_crate-emergence-small-p8_1xb8_coco.py'

model = dict(
    backbone=dict(_delete_=True, type='mmpretrain.VisionTransformer', arch='deit-base', img_size=224, patch_size=8)
)
