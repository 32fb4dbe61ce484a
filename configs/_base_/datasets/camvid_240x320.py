# CamVid (Brostow et al. 2009) with the 11 classes and the split of SegNet: 367 images for training, 101 for validation,
# 233 for testing, 360 high and 480 wide. Models see them 240 high and 320 wide; results are compared with the labels at
# their own size. Label 255 is ignored.
# Data: $CRATE_DATA/camvid/{images,annotations}/{train,val,test}/, photographs as .jpg, label maps as .png.
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')

__size__ = dict(type='Resize', scale=(320, 240))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadLabelMap', num_classes=11),
    __size__,
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    __size__,
    dict(type='LoadLabelMap', num_classes=11),
    dict(type='PackSegInputs'),
]
__classes__ = 'sky building pole road pavement tree sign_symbol fence car pedestrian bicyclist'
dataset = dict(
    type='BaseSegDataset',
    data_root=f'{__data__}/camvid',
    metainfo=dict(classes=tuple(__classes__.split())),
)
__loader__ = dict(batch_size=8, num_workers=1, persistent_workers=True)
train_dataloader = dict(
    __loader__,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        dataset, data_prefix=dict(img_path='images/train', seg_map_path='annotations/train'), pipeline=train_pipeline
    ),
)
__eval_loader__ = dict(__loader__, sampler=dict(type='DefaultSampler', shuffle=False))
__eval__ = dict(dataset, pipeline=test_pipeline, test_mode=True)
val_dataloader = dict(
    __eval_loader__, dataset=dict(__eval__, data_prefix=dict(img_path='images/val', seg_map_path='annotations/val'))
)
test_dataloader = dict(
    __eval_loader__, dataset=dict(__eval__, data_prefix=dict(img_path='images/test', seg_map_path='annotations/test'))
)
val_evaluator = test_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
