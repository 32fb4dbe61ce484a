# tokencut.py for the boxes of VOC 2007 trainval (5,011 images): CorLoc, difficult objects included.
# Data: $CRATE_DATA/VOCdevkit/VOC2007 with JPEGImages/, Annotations/ and ImageSets/Main/trainval.txt.
_base_ = './tokencut.py'
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')
default_scope = 'mmdet'

model = dict(data_preprocessor=dict(type='DetDataPreprocessor'))
test_pipeline = [
    dict(type='LoadImageOrSkip', skip=False),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs'),
]
test_dataloader = dict(
    dataset=dict(
        type='VOCDataset',
        data_root=f'{__data__}/VOCdevkit',
        ann_file='VOC2007/ImageSets/Main/trainval.txt',
        data_prefix=dict(sub_data_root='VOC2007/'),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_evaluator = dict(type='CorLoc', count_ignored=True)
test_cfg = dict()
default_hooks = dict(visualization=dict(_delete_=True, type='DetVisualizationHook'))
visualizer = dict(type='DetLocalVisualizer')
