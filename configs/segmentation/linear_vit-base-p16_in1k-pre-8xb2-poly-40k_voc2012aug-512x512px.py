# Linear probe of ViT-B/16 (the baseline of CRATE-Base/16) on VOC 2012 + aug: a linear head on the frozen backbone.
#   bash tools/dist_train.sh configs/segmentation/linear_vit-base-p16_in1k-pre-8xb2-poly-40k_voc2012aug-512x512px.py 8
# Not run here.
#
# The run starts from checkpoints/vit-base-p16_in1k.pth: mmpretrain's vit-base-p16_32xb128-mae_in1k, supervised on
# ImageNet-1k at 224 x 224, from
# https://download.openmmlab.com/mmclassification/v0/vit/vit-base-p16_pt-32xb128-mae_in1k_20220623-4c544545.pth
#
# Model, data and recipe: linear_seg.py, voc2012aug_512.py and linear_seg_40k.py below configs/_base_. 40,000
# iterations, where mmseg has 20,000 and 40,000.
# Data: $CRATE_DATA/VOCdevkit/VOC2012, as voc2012aug_512.py says.
_base_ = [
    '../_base_/models/linear_seg.py',
    '../_base_/datasets/voc2012aug_512.py',
    '../_base_/schedules/linear_seg_40k.py',
    '../_base_/mmseg_runtime.py',
]

model = dict(
    backbone=dict(
        arch='base',
        patch_size=16,
        attn_cfg=dict(type='MHSA'),
        ffn_cfg=dict(type='MLP'),
        patch_embed='conv',
        norm_eps=1e-6,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/vit-base-p16_in1k.pth', prefix='backbone.'),
    ),
    neck=dict(in_channels=768),
    decode_head=dict(in_channels=768, channels=768, num_classes=21),
)
