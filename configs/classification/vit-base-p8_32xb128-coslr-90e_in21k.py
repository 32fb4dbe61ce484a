# ViT-B/8, supervised on ImageNet-21k: a baseline of arXiv 2308.16271, trained with the recipe of CRATE (Appendix C.1).
# The recipe is that of crate-emergence-small-p8_8xb512-coslr-90e_in21k.py, where it is explained; what follows is the
# difference.
#   NNODES=4 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#       configs/classification/vit-base-p8_32xb128-coslr-90e_in21k.py 8
# Published, for these weights: coarse segmentation 19.2 mIoU on VOC 2012 val (Figure 4b); MaskCut on COCO val2017 0.4
# box AP, 0.4 mask AP (Table 1). Not run here.
# Published: 102.61M parameters (Table 3). This ViT has 102.60M; the two norms around CRATE's patch embedding would make
# the difference.
_base_ = './crate-emergence-small-p8_8xb512-coslr-90e_in21k.py'

model = dict(
    backbone=dict(_delete_=True, type='VisionTransformer', arch='deit-base', img_size=224, patch_size=8),
    head=dict(_delete_=True, type='VisionTransformerClsHead', num_classes=21842, in_channels=768),
)
train_dataloader = dict(batch_size=128)
