# UPerNet on CRATE-Base/16 (arXiv 2306.01129), fine-tuned on VOC 2012 + aug.
#   bash tools/dist_train.sh \
#       configs/segmentation/upernet_crate-base-p16_in1k-pre-8xb2-poly-40k_voc2012aug-512x512px.py 8
# Not run here.
#
# The run starts from checkpoints/crate-base-p16_in1k.pth: the last checkpoint of
# configs/classification/crate-base-p16_8xb64-coslr-200e_in1k.py, or the released weights, converted:
#   python tools/model_converters/crate_to_mm.py SRC checkpoints/crate-base-p16_in1k.pth --arch base
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
        arch='base',
        patch_size=16,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/crate-base-p16_in1k.pth', prefix='backbone.'),
    ),
    decode_head=dict(num_classes=21),
    auxiliary_head=dict(num_classes=21),
)
