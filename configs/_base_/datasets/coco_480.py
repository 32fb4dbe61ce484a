# COCO val2017 for detectors that are not trained, class-agnostic: $CRATE_DATA/coco with val2017/ and
# annotations/instances_val2017.json. Every image becomes 480 x 480 by PIL's Lanczos filter, whatever its shape. A test
# compares the pixels with Image.open(path).convert('RGB').resize((480, 480), Image.LANCZOS). In addition, an EXIF
# orientation is applied. Every object is an 'object'. Eight images per step.
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')
test_pipeline = [
    dict(type='LoadImageOrSkip', skip=False),
    dict(type='Resize', scale=(480, 480), keep_ratio=False, backend='pillow', interpolation='lanczos'),
    dict(type='PackDetInputs'),
]
test_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    dataset=dict(
        type='CocoDataset',
        data_root=f'{__data__}/coco',
        ann_file='annotations/instances_val2017.json',
        data_prefix=dict(img='val2017/'),
        metainfo=dict(classes=('object',), palette=[(220, 20, 60)]),
        test_mode=True,
        pipeline=test_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_evaluator = dict(
    type='ClassAgnosticCocoMetric',
    ann_file=f'{__data__}/coco/annotations/instances_val2017.json',
    metric=['bbox', 'segm'],
    num_resamples=0,  # draws of the images, for 95% intervals
    order='expected',  # masks of equal score: the mean over orders of the images; published APs: 'as given'
)
test_cfg = dict()
