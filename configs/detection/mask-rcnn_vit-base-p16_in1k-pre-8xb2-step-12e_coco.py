# mmdet's Mask R-CNN with ViT-B/16, to compare CRATE-Base/16 with, on COCO: 1x schedule.
# The recipe is that of mask-rcnn_crate-base-p16_in1k-pre-8xb2-step-12e_coco.py, where it is explained; what follows is
# the difference.
#   bash tools/dist_train.sh configs/detection/mask-rcnn_vit-base-p16_in1k-pre-8xb2-step-12e_coco.py 8
# Not run here.
#
# The run starts from the file `init_cfg.checkpoint` below, and stops before its first step where it is missing:
# mmpretrain's vit-base-p16_32xb128-mae_in1k, which learnt the labels of ImageNet-1k at 224 x 224:
#   curl --create-dirs -o checkpoints/vit-base-p16_in1k.pth \
#       https://download.openmmlab.com/mmclassification/v0/vit/vit-base-p16_pt-32xb128-mae_in1k_20220623-4c544545.pth
_base_ = './mask-rcnn_crate-base-p16_in1k-pre-8xb2-step-12e_coco.py'

model = dict(
    backbone=dict(
        arch='base',
        attn_cfg=dict(type='MHSA'),
        ffn_cfg=dict(type='MLP'),
        patch_embed='conv',
        norm_eps=1e-6,
        init_cfg=dict(checkpoint='checkpoints/vit-base-p16_in1k.pth'),
    ),
)
