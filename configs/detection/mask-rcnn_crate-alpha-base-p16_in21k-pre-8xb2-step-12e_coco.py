# mmdet's Mask R-CNN with CRATE-alpha-B/16 (arXiv 2405.20299) on COCO: 1x schedule.
# The recipe is that of mask-rcnn_crate-base-p16_in1k-pre-8xb2-step-12e_coco.py, where it is explained; what follows is
# the difference.
#   bash tools/dist_train.sh configs/detection/mask-rcnn_crate-alpha-base-p16_in21k-pre-8xb2-step-12e_coco.py 8
# Not run here.
#
# The run starts from the file `init_cfg.checkpoint` below, and stops before its first step where it is missing:
# the last checkpoint of configs/classification/crate-alpha-base-p16_16xb256-mixup-coslr-91e_in21k.py
_base_ = './mask-rcnn_crate-base-p16_in1k-pre-8xb2-step-12e_coco.py'

model = dict(
    backbone=dict(
        arch='alpha-base',
        init_cfg=dict(checkpoint='checkpoints/crate-alpha-base-p16_in21k.pth'),
    ),
)
