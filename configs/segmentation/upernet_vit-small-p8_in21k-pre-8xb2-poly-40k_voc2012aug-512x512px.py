# UPerNet on ViT-S/8 (the baseline of CRATE-S/8), fine-tuned on VOC 2012 + aug.
#   bash tools/dist_train.sh configs/segmentation/upernet_vit-small-p8_in21k-pre-8xb2-poly-40k_voc2012aug-512x512px.py 8
# Not run here.
#
# The run starts from checkpoints/vit-small-p8_in21k.pth: the last checkpoint of
# configs/classification/vit-small-p8_16xb256-coslr-90e_in21k.py.
#
# Model, data and recipe: upernet_mln.py, voc2012aug_512.py and upernet_40k.py below configs/_base_. 40,000 iterations,
# where mmseg has 20,000 and 40,000. Chosen here: windows of 32 x 32 patches, four in a crop; the pre-training saw 28 x
# 28. The four layers whose maps are read stay global.
# Data: $CRATE_DATA/VOCdevkit/VOC2012, as voc2012aug_512.py says.
_base_ = [
    '../_base_/models/upernet_mln.py',
    '../_base_/datasets/voc2012aug_512.py',
    '../_base_/schedules/upernet_40k.py',
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
        window_size=32,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/vit-small-p8_in21k.pth', prefix='backbone.'),
    ),
    neck=dict(in_channels=[384, 384, 384, 384], out_channels=384, scales=[2, 1, 0.5, 0.25]),
    decode_head=dict(in_channels=[384, 384, 384, 384], num_classes=21),
    auxiliary_head=dict(in_channels=384, num_classes=21),
)
