# Cascade Mask R-CNN with CRATE-S/8 (arXiv 2308.16271) on COCO: ViTDet (arXiv 2203.16527), 36 epochs.
#   NNODES=4 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#       configs/detection/cascade-mask-rcnn_crate-emergence-small-p8_in21k-pre-32xb2-lsj-step-36e_coco-1024x1024px.py 8
# Not run here.
#
# The run starts from the file `init_cfg.checkpoint` below, and stops before its first step where it is missing:
# the last checkpoint of configs/classification/crate-emergence-small-p8_8xb512-coslr-90e_in21k.py, or the released
# weights, converted:
#   python tools/model_converters/crate_to_mm.py SRC checkpoints/crate-emergence-small-p8_in21k.pth \
#       --arch emergence-small
#
# What is published of the recipe and what was chosen here stands in the files below.
# Chosen here: 32 GPUs of 2 images. An image has 16,384 patches of 8 x 8, four times those of 16 x 16.
_base_ = [
    '../_base_/models/cascade-mask-rcnn_vitdet.py',
    '../_base_/datasets/coco_lsj_1024.py',
    '../_base_/schedules/vitdet_36e.py',
    '../_base_/mmdet_runtime.py',
]

model = dict(
    backbone=dict(
        arch='emergence-small',
        patch_size=8,
        init_cfg=dict(
            type='Pretrained', checkpoint='checkpoints/crate-emergence-small-p8_in21k.pth', prefix='backbone.'
        ),
    ),
    neck=dict(in_channels=384, in_stride=8),
)
train_dataloader = dict(batch_size=2)
