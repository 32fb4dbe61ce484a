# Cascade Mask R-CNN with ViT-B/16, to compare CRATE-Base/16 with, on COCO: ViTDet (arXiv 2203.16527), 100 epochs.
#   NNODES=2 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#       configs/detection/cascade-mask-rcnn_vit-base-p16_in1k-pre-16xb4-lsj-step-100e_coco-1024x1024px.py 8
# Not run here.
#
# The run starts from the file `init_cfg.checkpoint` below, and stops before its first step where it is missing:
# mmpretrain's vit-base-p16_32xb128-mae_in1k, which learnt the labels of ImageNet-1k at 224 x 224:
#   curl --create-dirs -o checkpoints/vit-base-p16_in1k.pth \
#       https://download.openmmlab.com/mmclassification/v0/vit/vit-base-p16_pt-32xb128-mae_in1k_20220623-4c544545.pth
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
        attn_cfg=dict(type='MHSA'),
        ffn_cfg=dict(type='MLP'),
        patch_embed='conv',
        norm_eps=1e-6,
        patch_size=16,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/vit-base-p16_in1k.pth', prefix='backbone.'),
    ),
    neck=dict(in_channels=768, in_stride=16),
)
train_dataloader = dict(batch_size=4)
