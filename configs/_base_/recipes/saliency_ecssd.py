# tokencut.py for the masks of ECSSD (1,000 images): IoU, accuracy and max F-measure.
# Data: $CRATE_DATA/ECSSD with images/*.jpg and masks/*.png, black and white, of the same names and sizes.
_base_ = './tokencut.py'
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')
default_scope = 'mmseg'

model = dict(data_preprocessor=dict(type='SegDataPreProcessor'))
test_pipeline = [
    dict(type='LoadImageOrSkip', skip=False),
    dict(type='LoadLabelMap'),
    dict(type='PackSegInputs'),
]
test_dataloader = dict(
    dataset=dict(
        type='BaseSegDataset',
        data_root=f'{__data__}/ECSSD',
        data_prefix=dict(img_path='images', seg_map_path='masks'),
        metainfo=dict(classes=('background', 'object'), palette=[(0, 0, 0), (220, 20, 60)]),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_evaluator = dict(type='Saliency')
test_cfg = dict()
default_hooks = dict(visualization=dict(_delete_=True, type='SegVisualizationHook', interval=1))
visualizer = dict(type='SegLocalVisualizer')
