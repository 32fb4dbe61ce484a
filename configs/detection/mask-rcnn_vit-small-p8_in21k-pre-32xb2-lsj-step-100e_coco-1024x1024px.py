# Mask R-CNN with ViT-S/8, to compare CRATE-S/8 with, on COCO: ViTDet (arXiv 2203.16527), 100 epochs.
#   NNODES=4 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#       configs/detection/mask-rcnn_vit-small-p8_in21k-pre-32xb2-lsj-step-100e_coco-1024x1024px.py 8
# Not run here.
#
# The run starts from the file `init_cfg.checkpoint` below, and stops before its first step where it is missing:
# the last checkpoint of configs/classification/vit-small-p8_16xb256-coslr-90e_in21k.py
#
# What is published of the recipe and what was chosen here stands in the files below.
# Chosen here: 32 GPUs of 2 images. An image has 16,384 patches of 8 x 8, four times those of 16 x 16.
_base_ = [
    '../_base_/models/mask-rcnn_vitdet.py',
    '../_base_/datasets/coco_lsj_1024.py',
    '../_base_/schedules/vitdet_100e.py',
    '../_base_/mmdet_runtime.py',
]

model = dict(
    backbone=dict(
        arch='emergence-small',
        attn_cfg=dict(type='MHSA'),
        ffn_cfg=dict(type='MLP'),
        patch_embed='conv',
        norm_eps=1e-6,
        patch_size=8,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/vit-small-p8_in21k.pth', prefix='backbone.'),
    ),
    neck=dict(in_channels=384, in_stride=8),
)
train_dataloader = dict(batch_size=2)
