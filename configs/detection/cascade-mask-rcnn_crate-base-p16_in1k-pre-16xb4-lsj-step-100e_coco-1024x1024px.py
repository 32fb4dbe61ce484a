# Cascade Mask R-CNN with CRATE-Base/16 (arXiv 2306.01129) on COCO: ViTDet (arXiv 2203.16527), 100 epochs.
#   NNODES=2 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#       configs/detection/cascade-mask-rcnn_crate-base-p16_in1k-pre-16xb4-lsj-step-100e_coco-1024x1024px.py 8
# Not run here.
#
# The run starts from the file `init_cfg.checkpoint` below, and stops before its first step where it is missing:
# the last checkpoint of configs/classification/crate-base-p16_8xb64-coslr-200e_in1k.py, or the released weights,
# converted:
#   python tools/model_converters/crate_to_mm.py SRC checkpoints/crate-base-p16_in1k.pth --arch base
#
# What is published of the recipe and what was chosen here stands in the files below.
# Chosen here: 16 GPUs of 4 images.
_base_ = [
    '../_base_/models/cascade-mask-rcnn_vitdet.py',
    '../_base_/datasets/coco_lsj_1024.py',
    '../_base_/schedules/vitdet_100e.py',
    '../_base_/mmdet_runtime.py',
]

model = dict(
    backbone=dict(
        arch='base',
        patch_size=16,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/crate-base-p16_in1k.pth', prefix='backbone.'),
    ),
    neck=dict(in_channels=768, in_stride=16),
)
train_dataloader = dict(batch_size=4)
