# Coarse segmentation by the attention of a small CRATE on the generated sample set: its 200 validation scenes, 96 high
# and 128 wide, as they are, a grid of 24 x 32 tokens.
# Its options are those of coarse-seg_crate-emergence-small-p8_1xb8_voc2012.py.
#   python tools/make_sample_set.py data/sample
#   python tools/train.py configs/classification/crate-w128d5-p4_1xb48-coslr-400i_sample-48px.py
#   python tools/test.py configs/segmentation/coarse-seg_crate-w128d5-p4_1xb8_sample-96x128px.py \
#       work_dirs/crate-w128d5-p4_1xb48-coslr-400i_sample-48px/iter_400.pth
# Measured here with the checkpoint of `make demo`, seed 0: mIoU 24.6 in the last layer, 33.0 in the best, layer 2.
# Data: $CRATE_DATA/sample/VOCdevkit/VOC2012 with JPEGImages/, SegmentationClass/ and ImageSets/Segmentation/val.txt.
_base_ = '../_base_/default_runtime.py'
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')
default_scope = 'mmseg'

model = dict(
    type='AttentionSegmentor',
    data_preprocessor=dict(
        type='SegDataPreProcessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
    ),
    backbone=dict(
        type='CRATE',
        arch=dict(embed_dims=128, num_heads=4, num_layers=5),
        img_size=48,
        patch_size=4,
        init='alpha',
    ),
    layers=-1,
)

test_pipeline = [
    dict(type='LoadImageOrSkip', skip=False),
    dict(type='Resize', scale=(128, 96), keep_ratio=False, backend='pillow', interpolation='lanczos'),
    dict(type='LoadLabelMap', num_classes=9),
    dict(type='PackSegInputs'),
]
test_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    drop_last=False,
    dataset=dict(
        type='BaseSegDataset',  # PascalVOCDataset knows no classes but VOC's
        data_root=f'{__data__}/sample/VOCdevkit/VOC2012',
        ann_file='ImageSets/Segmentation/val.txt',
        data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
        metainfo=dict(
            classes=(
                'background',
                'amber_stripes',
                'azure_checks',
                'crimson_dots',
                'cyan_plain',
                'emerald_checks',
                'lime_stripes',
                'magenta_plain',
                'violet_dots',
            )
        ),
        test_mode=True,
        pipeline=test_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_evaluator = dict(type='BestHeadIoU', rule='mass', share=0.6, resolution='image')
test_cfg = dict()

default_hooks = dict(visualization=dict(_delete_=True, type='SegVisualizationHook', interval=1))
visualizer = dict(type='SegLocalVisualizer')
