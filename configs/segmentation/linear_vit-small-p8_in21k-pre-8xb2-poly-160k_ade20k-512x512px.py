# Linear probe of ViT-S/8 (the baseline of CRATE-S/8) on ADE20K: a linear head on the frozen backbone.
#   bash tools/dist_train.sh configs/segmentation/linear_vit-small-p8_in21k-pre-8xb2-poly-160k_ade20k-512x512px.py 8
# Not run here.
#
# The run starts from checkpoints/vit-small-p8_in21k.pth: the last checkpoint of
# configs/classification/vit-small-p8_16xb256-coslr-90e_in21k.py.
#
# Model, data and recipe: linear_seg.py, ade20k_512.py and linear_seg_40k.py below configs/_base_. 160,000 iterations,
# as mmseg's ViT, BEiT and MAE have.
# Data: $CRATE_DATA/ade/ADEChallengeData2016, as ade20k_512.py says.
_base_ = [
    '../_base_/models/linear_seg.py',
    '../_base_/datasets/ade20k_512.py',
    '../_base_/schedules/linear_seg_40k.py',
    '../_base_/mmseg_runtime.py',
]

model = dict(
    backbone=dict(
        arch='emergence-small',
        patch_size=8,
        attn_cfg=dict(type='MHSA'),
        ffn_cfg=dict(type='MLP'),
        patch_embed='conv',
        norm_eps=1e-6,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/vit-small-p8_in21k.pth', prefix='backbone.'),
    ),
    neck=dict(in_channels=384),
    decode_head=dict(in_channels=384, channels=384, num_classes=150),
)
train_cfg = dict(max_iters=160000, val_interval=16000)
default_hooks = dict(checkpoint=dict(interval=16000))
