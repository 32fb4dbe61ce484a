# mmdet's Cascade Mask R-CNN with ViT-S/8, to compare CRATE-S/8 with, on COCO: 1x schedule.
# The recipe is that of cascade-mask-rcnn_crate-base-p16_in1k-pre-8xb2-step-12e_coco.py, where it is explained; what
# follows is the difference.
#   bash tools/dist_train.sh configs/detection/cascade-mask-rcnn_vit-small-p8_in21k-pre-8xb2-step-12e_coco.py 8
# Not run here.
#
# The run starts from the file `init_cfg.checkpoint` below, and stops before its first step where it is missing:
# the last checkpoint of configs/classification/vit-small-p8_16xb256-coslr-90e_in21k.py
_base_ = './cascade-mask-rcnn_crate-base-p16_in1k-pre-8xb2-step-12e_coco.py'

model = dict(
    backbone=dict(
        arch='emergence-small',
        attn_cfg=dict(type='MHSA'),
        ffn_cfg=dict(type='MLP'),
        patch_embed='conv',
        norm_eps=1e-6,
        patch_size=8,
        init_cfg=dict(checkpoint='checkpoints/vit-small-p8_in21k.pth'),
    ),
    neck=dict(in_channels=384, in_stride=8),
)
