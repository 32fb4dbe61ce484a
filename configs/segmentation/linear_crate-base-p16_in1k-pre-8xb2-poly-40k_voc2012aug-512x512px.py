# Linear probe of CRATE-Base/16 (arXiv 2306.01129) on VOC 2012 + aug: a linear head on the frozen backbone.
#   bash tools/dist_train.sh configs/segmentation/linear_crate-base-p16_in1k-pre-8xb2-poly-40k_voc2012aug-512x512px.py 8
# Not run here.
#
# The run starts from checkpoints/crate-base-p16_in1k.pth: the last checkpoint of
# configs/classification/crate-base-p16_8xb64-coslr-200e_in1k.py, or the released weights, converted:
#   python tools/model_converters/crate_to_mm.py SRC checkpoints/crate-base-p16_in1k.pth --arch base
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
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/crate-base-p16_in1k.pth', prefix='backbone.'),
    ),
    neck=dict(in_channels=768),
    decode_head=dict(in_channels=768, channels=768, num_classes=21),
)
