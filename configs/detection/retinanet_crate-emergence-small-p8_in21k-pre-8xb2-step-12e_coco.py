# mmdet's RetinaNet with CRATE-S/8 (arXiv 2308.16271) on COCO: 1x schedule.
# The recipe is that of retinanet_crate-base-p16_in1k-pre-8xb2-step-12e_coco.py, where it is explained; what follows is
# the difference.
#   bash tools/dist_train.sh configs/detection/retinanet_crate-emergence-small-p8_in21k-pre-8xb2-step-12e_coco.py 8
# Not run here.
#
# The run starts from the file `init_cfg.checkpoint` below, and stops before its first step where it is missing:
# the last checkpoint of configs/classification/crate-emergence-small-p8_8xb512-coslr-90e_in21k.py, or the released
# weights, converted:
#   python tools/model_converters/crate_to_mm.py SRC checkpoints/crate-emergence-small-p8_in21k.pth \
#       --arch emergence-small
_base_ = './retinanet_crate-base-p16_in1k-pre-8xb2-step-12e_coco.py'

model = dict(
    backbone=dict(
        arch='emergence-small',
        patch_size=8,
        init_cfg=dict(checkpoint='checkpoints/crate-emergence-small-p8_in21k.pth'),
    ),
    neck=dict(in_channels=384, in_stride=8),
)
