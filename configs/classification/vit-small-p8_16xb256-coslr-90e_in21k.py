# ViT-S/8, supervised on ImageNet-21k: a baseline of arXiv 2308.16271, trained with the recipe of CRATE (Appendix C.1).
# The recipe is that of crate-emergence-small-p8_8xb512-coslr-90e_in21k.py, where it is explained; what follows is the
# difference.
#   NNODES=2 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#       configs/classification/vit-small-p8_16xb256-coslr-90e_in21k.py 8
# Published, for these weights: coarse segmentation 14.1 mIoU on VOC 2012 val (Figure 4b); MaskCut on COCO val2017 0.0
# box AP, 0.0 mask AP (Table 1). Not run here. mmpretrain's name for 384 x 12 is deit-small; its small is 768 x 8.
_base_ = './crate-emergence-small-p8_8xb512-coslr-90e_in21k.py'

model = dict(
    backbone=dict(_delete_=True, type='VisionTransformer', arch='deit-small', img_size=224, patch_size=8),
    head=dict(_delete_=True, type='VisionTransformerClsHead', num_classes=21842, in_channels=384),
)
train_dataloader = dict(batch_size=256)
