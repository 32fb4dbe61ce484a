# UPerNet on CRATE-alpha-B/16 (arXiv 2405.20299), fine-tuned on ADE20K.
#   bash tools/dist_train.sh \
#       configs/segmentation/upernet_crate-alpha-base-p16_in21k-pre-8xb2-poly-160k_ade20k-512x512px.py 8
# Not run here.
#
# The run starts from checkpoints/crate-alpha-base-p16_in21k.pth: the last checkpoint of
# configs/classification/crate-alpha-base-p16_16xb256-mixup-coslr-91e_in21k.py.
#
# Model, data and recipe: upernet_mln.py, ade20k_512.py and upernet_40k.py below configs/_base_. 160,000 iterations, as
# mmseg's ViT, BEiT and MAE have.
# Data: $CRATE_DATA/ade/ADEChallengeData2016, as ade20k_512.py says.
_base_ = [
    '../_base_/models/upernet_mln.py',
    '../_base_/datasets/ade20k_512.py',
    '../_base_/schedules/upernet_40k.py',
    '../_base_/mmseg_runtime.py',
]

model = dict(
    backbone=dict(
        arch='alpha-base',
        patch_size=16,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/crate-alpha-base-p16_in21k.pth', prefix='backbone.'),
    ),
    decode_head=dict(num_classes=150),
    auxiliary_head=dict(num_classes=150),
)
train_cfg = dict(max_iters=160000, val_interval=16000)
default_hooks = dict(checkpoint=dict(interval=16000))
