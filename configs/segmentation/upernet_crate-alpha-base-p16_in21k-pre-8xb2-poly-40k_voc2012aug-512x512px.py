# UPerNet on CRATE-alpha-B/16 (arXiv 2405.20299), fine-tuned on VOC 2012 + aug.
#   bash tools/dist_train.sh \
#       configs/segmentation/upernet_crate-alpha-base-p16_in21k-pre-8xb2-poly-40k_voc2012aug-512x512px.py 8
# Not run here.
#
# The run starts from checkpoints/crate-alpha-base-p16_in21k.pth: the last checkpoint of
# configs/classification/crate-alpha-base-p16_16xb256-mixup-coslr-91e_in21k.py.
#
# Model, data and recipe: upernet_mln.py, voc2012aug_512.py and upernet_40k.py below configs/_base_. 40,000 iterations,
# where mmseg has 20,000 and 40,000.
# Data: $CRATE_DATA/VOCdevkit/VOC2012, as voc2012aug_512.py says.
_base_ = [
    '../_base_/models/upernet_mln.py',
    '../_base_/datasets/voc2012aug_512.py',
    '../_base_/schedules/upernet_40k.py',
    '../_base_/mmseg_runtime.py',
]

model = dict(
    backbone=dict(
        arch='alpha-base',
        patch_size=16,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/crate-alpha-base-p16_in21k.pth', prefix='backbone.'),
    ),
    decode_head=dict(num_classes=21),
    auxiliary_head=dict(num_classes=21),
)
