# Coarse segmentation by the attention of a small CRATE trained on Tiny-ImageNet, on VOC 2012 val at 224 x 224.
# Protocol and options are those of coarse-seg_crate-emergence-small-p8_1xb8_voc2012.py; what follows is the difference.
#   CRATE_DATA=/datasets python tools/test.py \
#       configs/segmentation/coarse-seg_crate-w128d6-p8_1xb8_voc2012-224x224px.py CHECKPOINT
# Measured here on 425 photographs in the layout of VOC, 328 of horses and 97 of COCO, CHECKPOINT after 8 epochs: mIoU
# 36.4 in the last layer, 41.2 in the best, layer 1.
# CHECKPOINT: of configs/classification/crate-w128d6-p8_1xb128-coslr-8e_tinyimagenet100-64px.py. It was trained at
# 64 x 64: here its 8 x 8 positions are interpolated to 28 x 28.
_base_ = './coarse-seg_crate-emergence-small-p8_1xb8_voc2012.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='CRATE',
        arch=dict(embed_dims=128, num_heads=4, num_layers=6),
        img_size=64,
        patch_size=8,
    )
)
test_pipeline = [
    dict(type='LoadImageOrSkip', skip=False),
    dict(type='Resize', scale=(224, 224), keep_ratio=False, backend='pillow', interpolation='lanczos'),
    dict(type='LoadLabelMap', num_classes=21),
    dict(type='PackSegInputs'),
]
test_dataloader = dict(num_workers=2, dataset=dict(pipeline=test_pipeline))
