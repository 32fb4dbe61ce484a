# Linear probe of CRATE-alpha-B/16 (arXiv 2405.20299) on ADE20K: a linear head on the frozen backbone.
#   bash tools/dist_train.sh \
#       configs/segmentation/linear_crate-alpha-base-p16_in21k-pre-8xb2-poly-160k_ade20k-512x512px.py 8
# Not run here.
#
# The run starts from checkpoints/crate-alpha-base-p16_in21k.pth: the last checkpoint of
# configs/classification/crate-alpha-base-p16_16xb256-mixup-coslr-91e_in21k.py.
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
        arch='alpha-base',
        patch_size=16,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/crate-alpha-base-p16_in21k.pth', prefix='backbone.'),
    ),
    neck=dict(in_channels=768),
    decode_head=dict(in_channels=768, channels=768, num_classes=150),
)
train_cfg = dict(max_iters=160000, val_interval=16000)
default_hooks = dict(checkpoint=dict(interval=16000))
