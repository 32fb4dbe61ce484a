# VOC 2012 segmentation val for models that are not trained, in mmseg's own layout: $CRATE_DATA/VOCdevkit/VOC2012 with
# JPEGImages/, SegmentationClass/ and ImageSets/Segmentation/val.txt (1,449 images). Every image becomes 480 x 480 by
# PIL's Lanczos filter, whatever its shape. Annotations are loaded after that and keep their own size.
# Eight images per step.
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')
test_pipeline = [
    dict(type='LoadImageOrSkip', skip=False),
    dict(type='Resize', scale=(480, 480), keep_ratio=False, backend='pillow', interpolation='lanczos'),
    dict(type='LoadLabelMap', num_classes=21),
    dict(type='PackSegInputs'),
]
test_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    dataset=dict(
        type='PascalVOCDataset',
        data_root=f'{__data__}/VOCdevkit/VOC2012',
        ann_file='ImageSets/Segmentation/val.txt',
        data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
        test_mode=True,
        pipeline=test_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_evaluator = dict(type='BestHeadIoU', rule='mass', share=0.6, resolution='image')
test_cfg = dict()
